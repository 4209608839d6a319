"""The store: finished nodes by key, and the scratch folders of unfinished ones.

    ROOT/nodes/KEY/node.json     written last: a node without it does not exist
    ROOT/nodes/KEY/…             its artifacts: safetensors and JSON, nothing that needs unpickling
    ROOT/work/KEY/               scratch of a node in progress: `out/`, `checkpoint/`; `KEY.lock` beside it
    ROOT/roots/NAME.json         the keys that an experiment stands on: what `gc` keeps
    ROOT/code/HASH.json          the hash of each definition behind a code version, to explain differences
    ROOT/accepted/KEY.json       a key whose result is that of a node with other code: see `cl.execution.accept`

ROOT is any fsspec URL; scratch is always on a local disk (beside the nodes when ROOT is local, in the user's
cache folder otherwise), so a bucket can be shared by many machines. A node is published by one rename on a
local disk, and by writing node.json after all other files elsewhere: a reader sees a whole node or none.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import Any

import fsspec
from filelock import FileLock, Timeout

from cl.errors import UserError
from cl.execution.machine import cache_folder
from cl.graph.code_version import by_definition
from cl.graph.node import Node

RECORD = "node.json"


class Store:
    """Content-addressed results of nodes under `url`; `scratch`: local folder for work in progress.

    Raises UserError for a URL that fsspec cannot open.
    """

    def __init__(self, url: str | Path, scratch: Path | None = None) -> None:
        try:
            # No cached listings: other machines publish into the same store.
            self.fs, self.root = fsspec.core.url_to_fs(str(url), use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise UserError(f"store: cannot open {str(url)!r}: {error}") from error
        self.is_local = "file" in (self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,))
        self.scratch = scratch or (Path(self.root) if self.is_local else _cache(str(url)))
        self.url = str(url)

    def place(self, key: str) -> str:
        """The key under which a node is stored: its own, or that of the accepted node in its place."""
        if self.fs.exists(f"{self.root}/nodes/{key}/{RECORD}"):
            return key
        accepted = self.accepted_of(key)
        return key if accepted is None else str(accepted["of"])

    def accepted_of(self, key: str) -> dict[str, Any] | None:
        """What was declared about a key whose result is that of another node. None: nothing."""
        file = f"{self.root}/accepted/{key}.json"
        if not self.fs.exists(file):
            return None
        found: dict[str, Any] = json.loads(self.fs.cat_file(file))
        return found

    def accepted(self) -> dict[str, dict[str, Any]]:
        """All keys whose results are those of other nodes, with what was declared."""
        base = f"{self.root}/accepted"
        files = self.fs.ls(base, detail=False) if self.fs.exists(base) else []
        return {Path(file).stem: json.loads(self.fs.cat_file(file)) for file in sorted(files)}

    def accept(self, key: str, declaration: Mapping[str, Any]) -> None:
        """Let a key stand for the node `declaration["of"]`."""
        self.fs.makedirs(f"{self.root}/accepted", exist_ok=True)
        self.fs.pipe_file(f"{self.root}/accepted/{key}.json", json.dumps(declaration, indent=1).encode())

    def revoke(self, key: str) -> None:
        """Undo `accept`."""
        self.fs.rm_file(f"{self.root}/accepted/{key}.json")

    def definitions(self, code: str) -> dict[str, str] | None:
        """Hash of each definition behind a code version. None: not recorded."""
        file = f"{self.root}/code/{code}.json"
        if not self.fs.exists(file):
            return None
        found: dict[str, str] = json.loads(self.fs.cat_file(file))
        return found

    def _record_definitions(self, node: Node) -> None:
        """Keep the hash of each definition behind the node's code version, once per version."""
        code = str(node.identity["code"])
        file = f"{self.root}/code/{code}.json"
        if ":" in code or self.fs.exists(file):  # a release or an override names itself
            return
        self.fs.makedirs(f"{self.root}/code", exist_ok=True)
        self.fs.pipe_file(file, json.dumps(by_definition(node.entries)).encode())

    def has(self, node: Node) -> bool:
        """Whether the node is stored with all the artifacts that its children need."""
        if not self.fs.exists(f"{self.root}/nodes/{self.place(node.key)}/{RECORD}"):
            return False
        return not node.needs or node.needs <= set(self.read(node.key)["artifacts"])

    def read(self, key: str) -> dict[str, Any]:
        """Everything recorded about a stored node: its identity, what it measured, its files.

        Raises UserError where the record is not whole, as after a full disk.
        """
        place = f"{self.root}/nodes/{self.place(key)}"
        try:
            record: dict[str, Any] = json.loads(self.fs.cat_file(f"{place}/{RECORD}"))
        except ValueError as error:
            raise UserError(f"store: {place}/{RECORD} is damaged; delete the folder and run again") from error
        return record

    def result(self, node: Node) -> dict[str, Any]:
        """What the node's computation returned."""
        result: dict[str, Any] = self.read(node.key)["result"]
        return result

    def path(self, node: Node) -> Path:
        """Local folder with the node's artifacts; fetched first where the store is not local."""
        key = self.place(node.key)
        if self.is_local:
            return Path(self.root) / "nodes" / key
        local = self.scratch / "nodes" / key
        local.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(local.with_suffix(".lock")):  # workers of one machine share what is fetched
            if not all((local / name).exists() for name in (RECORD, *node.needs)):
                shutil.rmtree(local, ignore_errors=True)  # fetched when it had fewer artifacts
                with tempfile.TemporaryDirectory(dir=local.parent) as new:  # renamed when whole
                    self.fs.get(f"{self.root}/nodes/{key}/", f"{new}/node/", recursive=True)
                    Path(new, "node").rename(local)
        return local

    @contextmanager
    def work(self, node: Node, waiting: Callable[[], None] = lambda: None) -> Iterator[Path | None]:
        """Scratch folder of a node in progress, held by one process at a time; its checkpoints survive a crash.

        Where another process holds it, calls `waiting` and waits. Gives None where the node is stored by now.
        """
        folder = self.scratch / "work" / node.key
        with self._lock(node.key, waiting):
            if self.has(node):
                yield None
                return
            shutil.rmtree(folder / "out", ignore_errors=True)  # half-written by a process that was killed
            (folder / "out").mkdir(parents=True)
            yield folder

    @contextmanager
    def _lock(self, key: str, waiting: Callable[[], None]) -> Iterator[None]:
        path = self.scratch / "work" / f"{key}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def publish(self, node: Node, work: Path, result: dict[str, Any]) -> None:
        """Make the content of `work/out` the stored node, then drop the scratch folder."""
        out = work / "out"
        self._record_definitions(node)
        files = {str(path.relative_to(out)): _file_record(path) for path in sorted(out.rglob("*")) if path.is_file()}
        record = {
            "key": node.key,
            "name": node.name,
            "identity": node.identity,
            "result": result,
            "files": files,
            "artifacts": sorted(path.name for path in out.iterdir()),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        (out / RECORD).write_text(json.dumps(record, indent=1, allow_nan=False), encoding="utf-8")
        target = f"{self.root}/nodes/{node.key}"
        if self.is_local:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            if Path(target).exists():  # stored before with fewer artifacts
                Path(target).rename(work / "old")
            out.rename(target)
        else:
            for name in (*files, RECORD):
                self.fs.makedirs(f"{target}/{name}".rsplit("/", 1)[0], exist_ok=True)
                self.fs.put_file(str(out / name), f"{target}/{name}")
        shutil.rmtree(work)

    def keys(self) -> list[str]:
        """Keys of all stored nodes."""
        return [key for key in self._folders() if self.fs.exists(f"{self.root}/nodes/{key}/{RECORD}")]

    def records(self) -> Iterator[dict[str, Any]]:
        """What is recorded about each stored node, as `read` gives it."""
        return map(self.read, self.keys())

    def _folders(self) -> list[str]:
        """Keys of all stored nodes and of those that were published or deleted in part."""
        base = f"{self.root}/nodes"
        if not self.fs.exists(base):
            return []
        return sorted(entry.rstrip("/").rsplit("/", 1)[-1] for entry in self.fs.ls(base, detail=False))

    def protect(self, name: str, keys: Iterable[str]) -> None:
        """Add the keys that experiment `name` stands on to those that `gc` keeps, until it is dropped."""
        self.fs.makedirs(f"{self.root}/roots", exist_ok=True)
        kept = set(keys) | set(self.roots().get(name, []))
        self.fs.pipe_file(f"{self.root}/roots/{name}.json", json.dumps(sorted(kept)).encode())

    def roots(self) -> dict[str, list[str]]:
        """Protected keys by experiment."""
        base = f"{self.root}/roots"
        if not self.fs.exists(base):
            return {}
        return {Path(file).stem: json.loads(self.fs.cat_file(file)) for file in self.fs.ls(base, detail=False)}

    def garbage(self, dropped: Iterable[str] = ()) -> list[str]:
        """Keys of nodes, whole or in part, that no experiment stands on; experiments in `dropped` do not count."""
        roots, dropped = self.roots(), set(dropped)
        if unknown := dropped - set(roots):
            raise UserError(f"drop: no experiment {sorted(unknown)} in this store; it has {sorted(roots) or 'none'}")
        kept = {key for name, keys in roots.items() if name not in dropped for key in keys}
        kept |= {declared["of"] for key, declared in self.accepted().items() if key in kept}
        return [key for key in self._folders() if key not in kept]

    def collect(self, dropped: Iterable[str] = ()) -> int:
        """Delete what `garbage` lists, the dropped roots and scratch that nobody will need; return bytes freed."""
        freed = 0
        for key in self.garbage(dropped):
            freed += self.size(key)
            place = f"{self.root}/nodes/{key}"
            if self.fs.exists(f"{place}/{RECORD}"):
                self.fs.rm_file(f"{place}/{RECORD}")  # first: what is deleted in part must not look whole
            self.fs.rm(place, recursive=True)
            if not self.is_local:
                shutil.rmtree(self.scratch / "nodes" / key, ignore_errors=True)
                (self.scratch / "nodes" / f"{key}.lock").unlink(missing_ok=True)
        for name in dropped:
            self.fs.rm_file(f"{self.root}/roots/{name}.json")
        return freed + self._collect_scratch()

    def _collect_scratch(self) -> int:
        """Delete scratch of nodes that are stored or that no experiment stands on, unless one is being computed."""
        unfinished = {key for keys in self.roots().values() for key in keys} - set(self.keys())
        freed = 0
        for path in (self.scratch / "work").glob("*.lock"):
            lock = FileLock(path)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            folder = path.with_suffix("")
            if folder.name not in unfinished:
                freed += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
                shutil.rmtree(folder, ignore_errors=True)
                path.unlink()
            lock.release()
        return freed

    def size(self, key: str) -> int:
        """Bytes of the node's files."""
        return int(self.fs.du(f"{self.root}/nodes/{key}"))

    def verify(self, key: str) -> list[str]:
        """Names of the node's files that are missing or differ from what was recorded."""
        try:
            files = self.read(key)["files"]
        except UserError:  # said by the name of the record itself
            return [RECORD]
        return [name for name, expected in files.items() if not self._matches(f"{key}/{name}", expected["sha256"])]

    def _matches(self, name: str, sha256: str) -> bool:
        file = f"{self.root}/nodes/{name}"
        if not self.fs.exists(file):
            return False
        with self.fs.open(file, "rb") as stream:
            return _sha256(stream) == sha256


def _cache(url: str) -> Path:
    """Folder for scratch of a store that is not local."""
    return cache_folder() / hashlib.sha256(url.encode()).hexdigest()[:8]


def _file_record(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": _sha256(file)}


def _sha256(file: BufferedReader) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()
