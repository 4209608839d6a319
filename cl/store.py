"""The store: finished nodes by key, and the scratch folders of unfinished ones.

    ROOT/nodes/KEY/node.json     written last: a node without it does not exist
    ROOT/nodes/KEY/…             its artifacts: safetensors and JSON, nothing that needs unpickling
    ROOT/work/KEY/               scratch of a node in progress: `out/`, `checkpoint/`, `lock`
    ROOT/roots/NAME.json         the keys that an experiment stands on: what `gc` keeps

ROOT is any fsspec URL; scratch is always on a local disk (beside the nodes when ROOT is local), so a bucket
can be shared by many machines. A node is published by one rename on a local disk, and by writing node.json
after all other files elsewhere: a reader sees a whole node or none.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
from filelock import FileLock, Timeout

from cl.errors import UserError
from cl.node import Node

RECORD = "node.json"


class Store:
    """Content-addressed results of nodes under `url`; `scratch`: local folder for work in progress."""

    def __init__(self, url: str | Path, scratch: Path | None = None) -> None:
        self.fs, self.root = fsspec.core.url_to_fs(str(url))
        self.is_local = "file" in (self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,))
        default = Path(self.root) if self.is_local else Path(tempfile.gettempdir()) / f"cl-{_short(str(url))}"
        self.scratch = scratch or default
        self.url = str(url)

    def has(self, node: Node) -> bool:
        """Whether the node is stored with all the artifacts that its children need."""
        if not self.fs.exists(f"{self.root}/nodes/{node.key}/{RECORD}"):
            return False
        artifacts = self.read(node.key)["artifacts"] if node.needs else []
        return node.needs <= set(artifacts)

    def read(self, key: str) -> dict[str, Any]:
        """Everything recorded about a stored node: its identity, what it measured, its files."""
        record: dict[str, Any] = json.loads(self.fs.cat_file(f"{self.root}/nodes/{key}/{RECORD}"))
        return record

    def result(self, node: Node) -> dict[str, Any]:
        """What the node's computation returned."""
        result: dict[str, Any] = self.read(node.key)["result"]
        return result

    def path(self, node: Node) -> Path:
        """Local folder with the node's artifacts; fetched first where the store is not local."""
        if self.is_local:
            return Path(self.root) / "nodes" / node.key
        local = self.scratch / "nodes" / node.key
        if not (local / RECORD).exists():
            self.fs.get(f"{self.root}/nodes/{node.key}", str(local), recursive=True)
        return local

    @contextmanager
    def work(self, node: Node) -> Iterator[Path]:
        """Scratch folder of a node in progress, held by one process at a time; it survives a crash."""
        folder = self.scratch / "work" / node.key
        (folder / "out").mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"node {node.key} ({node.name}) is being computed by another process: wait for it") from None
        try:
            yield folder
        finally:
            lock.release()

    def publish(self, node: Node, work: Path, result: dict[str, Any]) -> None:
        """Make the content of `work/out` the stored node, then drop the scratch folder."""
        out = work / "out"
        files = {str(path.relative_to(out)): _file_record(path) for path in sorted(out.rglob("*")) if path.is_file()}
        record = {
            "key": node.key, "name": node.name, "identity": node.identity, "result": result, "files": files,
            "artifacts": sorted(path.name for path in out.iterdir()),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        target = f"{self.root}/nodes/{node.key}"
        (out / RECORD).write_text(json.dumps(record, indent=1, allow_nan=False), encoding="utf-8")
        if self.is_local:
            if Path(target).exists():  # stored before with fewer artifacts
                shutil.rmtree(target)
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            out.rename(target)
        else:
            for name in (*files, RECORD):
                self.fs.makedirs(f"{target}/{name}".rsplit("/", 1)[0], exist_ok=True)
                self.fs.put_file(str(out / name), f"{target}/{name}")
        shutil.rmtree(work)

    def keys(self) -> list[str]:
        """Keys of all stored nodes."""
        base = f"{self.root}/nodes"
        if not self.fs.exists(base):
            return []
        folders = (entry.rstrip("/").rsplit("/", 1)[-1] for entry in self.fs.ls(base, detail=False))
        return sorted(key for key in folders if self.fs.exists(f"{base}/{key}/{RECORD}"))

    def protect(self, name: str, keys: Iterable[str]) -> None:
        """Record the keys that experiment `name` stands on, so that `gc` keeps them."""
        self.fs.makedirs(f"{self.root}/roots", exist_ok=True)
        self.fs.pipe_file(f"{self.root}/roots/{name}.json", json.dumps(sorted(keys)).encode())

    def roots(self) -> dict[str, list[str]]:
        """Protected keys by experiment."""
        base = f"{self.root}/roots"
        if not self.fs.exists(base):
            return {}
        return {Path(file).stem: json.loads(self.fs.cat_file(file)) for file in self.fs.ls(base, detail=False)}

    def garbage(self, dropped: Iterable[str] = ()) -> list[str]:
        """Keys of stored nodes that no experiment stands on; experiments in `dropped` do not count."""
        roots = self.roots()
        unknown = set(dropped) - set(roots)
        if unknown:
            raise UserError(f"drop: no experiment {sorted(unknown)} in this store; it has {sorted(roots) or 'none'}")
        kept = {key for name, keys in roots.items() if name not in set(dropped) for key in keys}
        return [key for key in self.keys() if key not in kept]

    def collect(self, dropped: Iterable[str] = ()) -> int:
        """Delete what `garbage` lists, scratch of finished nodes and the dropped roots; return bytes freed."""
        freed = 0
        for key in self.garbage(dropped):
            freed += self.size(key)
            self.fs.rm(f"{self.root}/nodes/{key}", recursive=True)
        for name in dropped:
            self.fs.rm(f"{self.root}/roots/{name}.json")
        kept = {key for keys in self.roots().values() for key in keys} - set(self.keys())
        for folder in (self.scratch / "work").glob("*"):
            if folder.name not in kept:
                freed += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
                shutil.rmtree(folder)
        return freed

    def size(self, key: str) -> int:
        """Bytes of the node's artifacts."""
        return sum(int(entry["bytes"]) for entry in self.read(key)["files"].values())

    def verify(self, key: str) -> list[str]:
        """Names of the node's files that are missing or differ from what was recorded."""
        bad = []
        for name, expected in self.read(key)["files"].items():
            file = f"{self.root}/nodes/{key}/{name}"
            if not self.fs.exists(file) or _sha256(self.fs.open(file, "rb")) != expected["sha256"]:
                bad.append(name)
        return bad


def _file_record(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": _sha256(file)}


def _sha256(file: Any) -> str:
    total = hashlib.sha256()
    for block in iter(lambda: file.read(1 << 20), b""):
        total.update(block)
    return total.hexdigest()


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
