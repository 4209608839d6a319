"""Compute a train node in several processes of one or several machines, started by torchrun.

Each process runs `cl.execution.torchrun_worker`; the first process reports progress.

On several machines, one of them *leads*: it holds the node's lock, and its torchrun has the first process. The others
`join`: they wait for the leader's invitation in the node's scratch folder, which all machines share, and start a
torchrun of their own. The rendezvous is static (torchrun's `--node-rank`), because an elastic one may put the first
process on any machine, and its reports are read on the leader.
"""

from __future__ import annotations

import collections
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from cl import durable, signals
from cl.errors import UserError
from cl.execution import child_process, transport
from cl.execution import listener as listeners
from cl.execution.store import Store
from cl.graph.node import Node, ancestors

LOG_LINES = 15  # last lines of a log that an error message quotes
INVITATION = "invitation.json"  # in a node's scratch folder, while its leader waits for other machines or trains
LOOK = 0.5  # seconds between two looks for an invitation


def train(node: Node, store: Store, work: Path, listener: listeners.Listener) -> dict[str, Any]:
    """Compute a train node with `node.processes` processes on each of its machines, of which this one leads.

    Args:
        node: the train node.
        store: the store.
        work: scratch folder of the node.
        listener: is notified.

    Returns:
        Result of the first process.

    Raises:
        UserError: raised by one of the processes, or for several machines and a store that is no shared folder.
        RuntimeError: if a process fails otherwise, with the last lines of the log.
    """
    if node.machines > 1 and not store.is_local:
        raise UserError(f"train.nodes: {node.machines} machines need a store in a folder that they share, no bucket")
    threads = max(1, torch.get_num_threads() // node.processes)
    place = {"store": store.url, "scratch": str(store.scratch), "work": str(work), "threads": threads}
    sent: dict[str, Any] = {"message": transport.pack([node]), **place}
    log = work / "processes.log"
    with _invited(sent, node, work), _agent(sent, node, work, 0) as run:
        assert run.stdout is not None
        found = _follow(run.stdout, node, listener)
        if found is not None and node.machines > 1:
            run.wait()  # for the processes of all machines: they have files open in `work`
    if found is None:
        raise RuntimeError(f"train {node.name}: a process ended without a result; see {log}\n{_last_words(log)}")
    return found


def join(nodes: Sequence[Node], store: Store, place: int) -> None:
    """On another machine than the leader's: take part in train nodes of several machines until all are stored.

    Args:
        nodes: nodes that the leader computes; it may have to compute their ancestors again.
        store: the store, in a folder that is shared with the leader.
        place: 1-based number of this machine among those that are not the leader.
    """
    shared = [node for node in ancestors(nodes) if node.machines > 1]
    joined = set[str]()
    while not all(store.has(node) for node in nodes if node.machines > 1):
        signals.check()
        for node in shared:
            sent = _invitation(work := store.scratch / "work" / node.key)
            if sent is not None and sent["id"] not in joined:
                joined.add(sent["id"])
                _take_part(sent, node, work, place)
        time.sleep(LOOK)


def _take_part(sent: Mapping[str, Any], node: Node, work: Path, place: int) -> None:
    """Run this machine's processes until they end, or until the leader has withdrawn its invitation."""
    with _agent(sent, node, work, place) as run:
        while run.poll() is None and (_invitation(work) or {}).get("id") == sent["id"]:
            signals.check()
            time.sleep(LOOK)


@contextmanager
def _invited(sent: dict[str, Any], node: Node, work: Path) -> Iterator[None]:
    """Context in which the other machines are invited, if there are any."""
    if node.machines == 1:
        yield
        return
    with socket.socket() as free:
        free.bind(("", 0))
        sent |= {"id": uuid.uuid4().hex, "address": socket.gethostname(), "port": free.getsockname()[1]}
    durable.write(work / INVITATION, json.dumps(sent).encode())
    try:
        yield
    finally:
        (work / INVITATION).unlink(missing_ok=True)


def _invitation(work: Path) -> dict[str, Any] | None:
    """The leader's invitation. None: there is none."""
    try:
        found: dict[str, Any] = json.loads((work / INVITATION).read_bytes())
    except FileNotFoundError:
        return None
    return found


@contextmanager
def _agent(sent: Mapping[str, Any], node: Node, work: Path, place: int) -> Iterator[subprocess.Popen[str]]:
    """Context with a running torchrun, which has ended when the context ends."""
    suffix = f"-{place}" if place else ""
    file, log = work / f"processes{suffix}.json", work / f"processes{suffix}.log"
    file.write_text(json.dumps({**sent, "parent": os.getpid()}), encoding="utf-8")
    meeting = ["--standalone"]
    if node.machines > 1:
        meeting = [f"--nnodes={node.machines}", f"--node-rank={place}"]
        meeting += [f"--master-addr={sent['address']}", f"--master-port={sent['port']}", f"--rdzv-id={sent['id']}"]
    command = ["-m", "torch.distributed.run", *meeting, f"--nproc-per-node={node.processes}"]
    with (
        log.open("w", encoding="utf-8") as errors,
        subprocess.Popen(
            [sys.executable, *command, "-m", "cl.execution.torchrun_worker", str(file)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | {"PYTHONSAFEPATH": "1"},  # the user's folder `strategies` must not hide the package
            start_new_session=True,  # Ctrl-C reaches this process alone, which asks the others once
        ) as run,
    ):
        assert run.stdout is not None
        try:
            yield run
        finally:
            run.terminate()  # torchrun asks its processes to end; they leave a checkpoint in `work`
            collections.deque(run.stdout, maxlen=0)  # they still report: a closed pipe would end them at once


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
