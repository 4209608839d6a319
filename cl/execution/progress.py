"""How far unfinished nodes are, for `cl status`: a small file in a node's scratch folder, which nothing else reads.

work/KEY/progress.json    kind, name, done, total, loss, tokens_per_second, host, process, since, at
failed/KEY.log            what happened to a node that failed, in the first line, and its traceback
"""

from __future__ import annotations

import json
import os
import socket
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from cl.errors import DivergedError, one_line
from cl.execution.store import Store
from cl.graph.node import Node
from cl.metrics.records import Point

PATIENCE = 1.0  # seconds between two writes
SILENT = 300.0  # seconds after which a process on another machine counts as gone
FILE = "progress.json"


@dataclass
class Progress:
    """The progress of a node.

    Args:
        kind: kind of the node.
        name: its name.
        since: time at which its process began with it, in seconds since 1970.
        at: time of the newest write.
        done: steps that are done.
        total: steps in all; 0: not told yet.
        loss: newest training loss in nats/token.
        tokens_per_second: newest training speed.
        host: machine.
        process: number of the process.
    """

    kind: str
    name: str
    since: float
    at: float
    done: int = 0
    total: int = 0
    loss: float | None = None
    tokens_per_second: float | None = None
    host: str = ""
    process: int = 0

    @property
    def state(self) -> Literal["running", "stopped"]:
        """Whether its process lives: on this machine that is known, on another one a fresh file says it."""
        if self.host != socket.gethostname():
            return "running" if time.time() - self.at < SILENT else "stopped"
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return "stopped"
        except PermissionError:
            pass
        return "running"

    @property
    def left(self) -> float | None:
        """Seconds that it still takes at the speed so far. None: nothing is done yet."""
        return (self.at - self.since) * (self.total - self.done) / self.done if self.done else None


class Writer:
    """Writes the progress of a node.

    Args:
        node: the node.
        work: its scratch folder.
    """

    def __init__(self, node: Node, work: Path) -> None:
        now = time.time()
        self.file = work / FILE
        self.found = Progress(node.kind, node.name, now, now, host=socket.gethostname(), process=os.getpid())
        self._write()

    def progress(self, done: int, total: int) -> None:
        """Note steps; written after PATIENCE."""
        self.found.done, self.found.total = done, total
        if time.time() - self.found.at >= PATIENCE or done == total:
            self._write()

    def point(self, point: Point) -> None:
        """Note loss and speed."""
        self.found.loss = point.loss
        self.found.tokens_per_second = point.tokens / point.seconds if point.seconds else None

    def _write(self) -> None:
        self.found.at = time.time()
        new = self.file.with_suffix(f".{os.getpid()}")  # several processes may train the node
        new.write_text(json.dumps(asdict(self.found)), encoding="utf-8")
        new.replace(self.file)


def of(store: Store, key: str) -> Progress | None:
    """The progress of an unfinished node. None: nobody has begun with it."""
    try:
        return Progress(**json.loads((store.scratch / "work" / key / FILE).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def unfinished(store: Store) -> dict[str, Progress]:
    """The progress of all nodes that somebody has begun with, by key."""
    folder = store.scratch / "work"
    keys = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.exists() else []
    return {key: found for key in keys if (found := of(store, key)) is not None}


def failed(store: Store, node: Node, error: Exception) -> str:
    """Keep what happened to a node; returns it in a line."""
    log = store.scratch / "failed" / f"{node.key}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    here = log.relative_to(Path.cwd()) if log.is_relative_to(Path.cwd()) else log
    diverged = isinstance(error, DivergedError)
    told = str(error) if diverged else one_line(f"broke: {type(error).__name__}: {error}; traceback in {here}")
    trace = "" if diverged else "".join(traceback.format_exception(error))
    log.write_text(f"{told}\n{trace}", encoding="utf-8")
    (store.scratch / "work" / node.key / FILE).unlink(missing_ok=True)  # this process lives, and does other nodes
    return told


def failure(store: Store, key: str) -> str | None:
    """What happened to a node when it was computed last. None: it did not fail."""
    log = store.scratch / "failed" / f"{key}.log"
    return log.read_text(encoding="utf-8").partition("\n")[0] if log.exists() else None
