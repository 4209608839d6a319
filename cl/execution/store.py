"""The store: finished nodes by key, and scratch folders of unfinished nodes.

    ROOT/nodes/KEY/node.json     record of the node, written last: a node without a record does not exist
    ROOT/nodes/KEY/…             artifacts of the node: safetensors and JSON, nothing that needs unpickling
    ROOT/work/KEY/               scratch folder of a node in progress: `out/`, `checkpoint/`
    ROOT/work/KEY.lock           held while a process computes the node
    ROOT/roots/NAME.json         keys that an experiment needs; garbage collection keeps them
    ROOT/code/HASH.json          hash of each definition in a code version, to explain differences
    ROOT/accepted/KEY.json       declares that a key has the result of a node with other code (`cl.execution.accept`)

ROOT is any fsspec URL, so that many machines can share a bucket. Scratch folders are on a local disk: in ROOT if ROOT
is local, otherwise in the user's cache folder. A node is published by one rename on a local disk; elsewhere node.json
is written after all other files. So a reader finds a complete node or none.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import Any

import fsspec
from filelock import FileLock, Timeout

from cl.errors import UserError
from cl.execution.declarations import Declarations
from cl.execution.machine import cache_folder
from cl.execution.records import File, Record
from cl.graph.code_version import by_definition
from cl.graph.node import Node

RECORD = "node.json"


class Store:
    """Content-addressed results of nodes.

    Args:
        url: folder or fsspec URL of the store.
        scratch: local folder for nodes in progress; by default the store itself, or a folder in the user's cache.

    Raises:
        UserError: for a URL that fsspec cannot open.
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
        self.declarations = Declarations(self.fs, self.root)

    def place(self, key: str) -> str:
        """The key under which a node's result is stored: its own key, or the key of the node accepted for it."""
        if self.fs.exists(f"{self.root}/nodes/{key}/{RECORD}"):
            return key
        declaration = self.declarations.of(key)
        return key if declaration is None else declaration.of

    def definitions(self, code: str) -> dict[str, str] | None:
        """Hash of each definition in a code version. None: not recorded."""
        file = f"{self.root}/code/{code}.json"
        if not self.fs.exists(file):
            return None
        found: dict[str, str] = json.loads(self.fs.cat_file(file))
        return found

    def _record_definitions(self, node: Node) -> None:
        """Store the hash of each definition in the node's code version, once per version."""
        code = node.identity["code"]
        file = f"{self.root}/code/{code}.json"
        if ":" in code or self.fs.exists(file):  # a release or an override is no hash of definitions
            return
        self.fs.makedirs(f"{self.root}/code", exist_ok=True)
        self.fs.pipe_file(file, json.dumps(by_definition(node.entries)).encode())

    def has(self, node: Node) -> bool:
        """Whether a node is stored with all artifacts that its children need."""
        if not self.fs.exists(f"{self.root}/nodes/{self.place(node.key)}/{RECORD}"):
            return False
        return not node.needs or node.needs <= set(self.read(node.key).artifacts)

    def read(self, key: str) -> Record:
        """The record of a stored node.

        Raises:
            UserError: if the record is damaged, for example after a full disk.
        """
        place = f"{self.root}/nodes/{self.place(key)}"
        try:
            return Record.of_json(self.fs.cat_file(f"{place}/{RECORD}"))
        except ValueError as error:
            raise UserError(f"store: {place}/{RECORD} is damaged; delete the folder and run again") from error

    def result(self, node: Node) -> dict[str, Any]:
        """The JSON data that a stored node's computation returned."""
        return self.read(node.key).result

    def path(self, node: Node) -> Path:
        """Local folder with a node's artifacts, which are downloaded if the store is not local."""
        key = self.place(node.key)
        if self.is_local:
            return Path(self.root) / "nodes" / key
        local = self.scratch / "nodes" / key
        local.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(local.with_suffix(".lock")):  # workers of one machine share downloads
            if not all((local / name).exists() for name in (RECORD, *node.needs)):
                shutil.rmtree(local, ignore_errors=True)  # downloaded when the node had fewer artifacts
                with tempfile.TemporaryDirectory(dir=local.parent) as new:  # renamed when complete
                    self.fs.get(f"{self.root}/nodes/{key}/", f"{new}/node/", recursive=True)
                    Path(new, "node").rename(local)
        return local

    @contextmanager
    def work(self, node: Node, waiting: Callable[[], None] = lambda: None) -> Iterator[Path | None]:
        """Context with the scratch folder of a node in progress. Checkpoints in the folder survive a crash.

        One process at a time holds the folder.

        Args:
            node: the node.
            waiting: called before waiting for another process that holds the folder.

        Yields:
            The folder with an empty subfolder `out`. None: another process has stored the node.
        """
        folder = self.scratch / "work" / node.key
        with self._lock(node.key, waiting):
            if self.has(node):
                yield None
                return
            shutil.rmtree(folder / "out", ignore_errors=True)  # left by a process that was killed
            (folder / "out").mkdir(parents=True)
            yield folder

    @contextmanager
    def _lock(self, key: str, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the lock of a node's scratch folder."""
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
        """Publish `work/out` as the stored node, then delete the scratch folder.

        Args:
            node: the node.
            work: scratch folder of the node.
            result: JSON data without NaN and infinity.
        """
        out = work / "out"
        self._record_definitions(node)
        files = {str(path.relative_to(out)): _file_record(path) for path in sorted(out.rglob("*")) if path.is_file()}
        artifacts, now = sorted(path.name for path in out.iterdir()), datetime.now(UTC).isoformat(timespec="seconds")
        record = Record(node.key, node.name, node.identity, result, files, artifacts, now)
        (out / RECORD).write_text(record.to_json(), encoding="utf-8")
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
        return [key for key in self.folders() if self.fs.exists(f"{self.root}/nodes/{key}/{RECORD}")]

    def records(self) -> Iterator[Record]:
        """Records of all stored nodes."""
        return map(self.read, self.keys())

    def folders(self) -> list[str]:
        """Keys of all folders of nodes, including nodes that are published or deleted in part."""
        base = f"{self.root}/nodes"
        if not self.fs.exists(base):
            return []
        return sorted(entry.rstrip("/").rsplit("/", 1)[-1] for entry in self.fs.ls(base, detail=False))

    def protect(self, name: str, keys: Iterable[str]) -> None:
        """Protect keys that experiment `name` needs from garbage collection, in addition to its earlier keys."""
        self.fs.makedirs(f"{self.root}/roots", exist_ok=True)
        kept = set(keys) | set(self.roots().get(name, []))
        self.fs.pipe_file(f"{self.root}/roots/{name}.json", json.dumps(sorted(kept)).encode())

    def roots(self) -> dict[str, list[str]]:
        """Protected keys by experiment."""
        base = f"{self.root}/roots"
        if not self.fs.exists(base):
            return {}
        return {Path(file).stem: json.loads(self.fs.cat_file(file)) for file in self.fs.ls(base, detail=False)}

    def size(self, key: str) -> int:
        """Size of a node's files in bytes."""
        return int(self.fs.du(f"{self.root}/nodes/{key}"))

    def verify(self, key: str) -> list[str]:
        """Names of a node's files that are missing or differ from their recorded hash."""
        try:
            files = self.read(key).files
        except UserError:  # the record itself is damaged
            return [RECORD]
        return [name for name, expected in files.items() if not self._matches(f"{key}/{name}", expected["sha256"])]

    def _matches(self, name: str, sha256: str) -> bool:
        file = f"{self.root}/nodes/{name}"
        if not self.fs.exists(file):
            return False
        with self.fs.open(file, "rb") as stream:
            return _sha256(stream) == sha256


def _cache(url: str) -> Path:
    """Folder for scratch folders of a store that is not local."""
    return cache_folder() / hashlib.sha256(url.encode()).hexdigest()[:8]


def _file_record(path: Path) -> File:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": _sha256(file)}


def _sha256(file: BufferedReader) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()
