"""One of the processes that train a node together: `torchrun -m cl.rank FILE`, started by `cl.spawn`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from cl import parcel, runner
from cl.errors import UserError
from cl.store import Store


def main() -> int:
    """Train the node that FILE describes; the first process says how it goes, line by line, as JSON."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print goes to the log
    first = os.environ["RANK"] == "0"

    def say(line: dict[str, Any]) -> None:
        print(json.dumps(line), file=out, flush=True)

    sent = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(sent["threads"])
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    (node,) = parcel.unpack(sent["parcel"])
    store, teller = Store(sent["store"], Path(sent["scratch"])), parcel.Teller(say if first else lambda line: None)
    try:
        result = runner.train(node, store, Path(sent["work"]), teller)
    except UserError as error:
        say({"error": str(error)})
        return 2
    if first:
        say({"result": result})
    return 0


if __name__ == "__main__":
    sys.exit(main())
