"""Compute a train node in several processes of this machine, started by torchrun.

Each process runs `cl.execution.torchrun_worker`; the first process reports progress.
"""

from __future__ import annotations

import collections
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from cl.execution import child_process, transport
from cl.execution import listener as listeners
from cl.execution.store import Store
from cl.graph.node import Node

LOG_LINES = 15  # last lines of a log that an error message quotes


def train(node: Node, store: Store, work: Path, listener: listeners.Listener) -> dict[str, Any]:
    """Compute a train node with `node.processes` processes.

    Args:
        node: the train node.
        store: the store.
        work: scratch folder of the node.
        listener: is notified.

    Returns:
        Result of the first process.

    Raises:
        UserError: raised by one of the processes.
        RuntimeError: if a process fails otherwise, with the last lines of the log.
    """
    sent, log = work / "processes.json", work / "processes.log"
    threads = max(1, torch.get_num_threads() // node.processes)
    place = {"store": store.url, "scratch": str(store.scratch), "work": str(work), "parent": os.getpid()}
    sent.write_text(json.dumps({"message": transport.pack([node]), "threads": threads, **place}), encoding="utf-8")
    environment = os.environ | {"PYTHONSAFEPATH": "1"}  # the user's folder `strategies` must not hide the package
    command = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={node.processes}",
        "-m",
        "cl.execution.torchrun_worker",
    ]
    with (
        log.open("w", encoding="utf-8") as errors,
        subprocess.Popen(
            [sys.executable, *command, str(sent)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches this process alone, which asks the others once
        ) as run,
    ):
        assert run.stdout is not None
        try:
            found = _follow(run.stdout, node, listener)
        finally:
            run.terminate()  # torchrun asks its processes to end; they leave a checkpoint in `work`
            collections.deque(run.stdout, maxlen=0)  # they still report: a closed pipe would end them at once
    if found is None:
        raise RuntimeError(f"train {node.name}: a process ended without a result; see {log}\n{_last_words(log)}")
    return found


def _last_words(log: Path) -> str:
    """The last lines of the log before torchrun's own report of the failure."""
    lines = log.read_text(encoding="utf-8").strip().splitlines()
    ends = [place for place, line in enumerate(lines) if "torch/distributed/elastic" in line]
    return "\n".join(lines[: ends[0] if ends else None][-LOG_LINES:])


def _follow(lines: Iterable[str], node: Node, listener: listeners.Listener) -> dict[str, Any] | None:
    """Pass messages on to the listener and return the result. None: the process ended without a result."""
    for said in child_process.messages(lines):
        if "result" in said:
            result: dict[str, Any] = said["result"]
            return result
        listeners.hear(said, {node.key: node}, listener)
    return None
