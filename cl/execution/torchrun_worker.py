"""One of several processes that train a node together, started by `cl.execution.torchrun`.

Called as `torchrun -m cl.execution.torchrun_worker FILE`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

import torch

from cl import signals
from cl.errors import DivergedError, UserError
from cl.execution import child_process, listener, runner, transport
from cl.execution.store import Store


def main() -> int:
    """Train the node that FILE describes. The first process reports progress and result as JSON lines."""
    say, first = child_process.reporter(), os.environ["RANK"] == "0"
    sent = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(sent["threads"])
    threading.Thread(target=_end_with, args=(sent["parent"],), daemon=True).start()
    store, teller = Store(sent["store"], Path(sent["scratch"])), listener.Teller(say if first else lambda line: None)
    try:
        (node,) = transport.unpack(sent["message"])
        if node.spec.device == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        with signals.handled():
            result = runner.compute(node, store, Path(sent["work"]), teller)
    except DivergedError as error:
        say({"diverged": [error.step, error.loss]})
        return 2
    except UserError as error:
        say({"error": str(error)})
        return 2
    except signals.Interrupted as stop:
        return 128 + stop.number
    if first:
        say({"result": result})
    return 0


def _end_with(parent: int) -> None:
    """End this process when the parent has ended: another process may compute the node, and both would write."""
    while True:
        try:
            os.kill(parent, 0)
        except ProcessLookupError:
            os._exit(3)
        time.sleep(1)


if __name__ == "__main__":
    signals.until_the_end()
    sys.exit(main())
