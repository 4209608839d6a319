"""The store: finished nodes by key, and scratch folders of unfinished nodes.

    ROOT/cl-store.json           says that the folder is a store
    ROOT/nodes/KEY/node.json     record of the node, written last: a node without a record does not exist
    ROOT/nodes/KEY/…             artifacts of the node: safetensors and JSON, nothing that needs unpickling
    ROOT/work/KEY/               scratch folder of a node in progress: `out/`, `checkpoint/`
    ROOT/work/KEY.lock           held while a process computes, sets aside or deletes the node
    ROOT/experiments/…           keys that experiments need (`cl.execution.needed`); garbage collection keeps them
    ROOT/code/HASH.json          hash of each definition in a code version, to explain differences
    ROOT/accepted/KEY.json       declares that a key has the result of a node with other code (`cl.execution.accept`)
    ROOT/damaged/KEY-TIME/       nodes that were set aside because a file was not as recorded

ROOT is any fsspec URL, so that many machines can share a bucket. Scratch folders are on a local disk: in ROOT if ROOT
is local, otherwise in the user's cache folder. A node is published by one rename on a local disk, after all its files
are on the disk; elsewhere node.json is written after all other files. So a reader finds a complete node or none. A
record holds the checksums of all files and of itself; a node is checked once per process, before its files are used.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
from filelock import FileLock, Timeout

from cl import durable
from cl.errors import UserError
from cl.execution.declarations import Declarations
from cl.execution.machine import cache_folder
from cl.execution.needed import Needed
from cl.execution.records import DamageError, File, Record
from cl.graph.code_version import by_definition
from cl.graph.node import Node
from cl.hashing import KEY_LENGTH
from cl.redaction import redacted

RECORD = "node.json"
MARK = "cl-store.json"


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
            raise UserError(redacted(f"store: cannot open {str(url)!r}: {error}")) from error
        self.is_local = "file" in (self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,))
        self.scratch = scratch or (Path(self.root) if self.is_local else _cache(str(url)))
        self.url = str(url)
        self.declarations = Declarations(self.fs, self.root)
        self.needed = Needed(self.fs, self.root, self.is_local)
        if not self.is_local:
            try:
                self.fs.exists(self.root)
            except Exception as error:  # as in `open_for_writing`
                raise self._refusal("read", error) from None
        self.whole: set[str] = set()  # nodes that this process has checked or written

    def open_for_writing(self) -> None:
        """Make the store if there is none. Raises UserError if nothing can be written there."""
        try:
            self.fs.makedirs(f"{self.root}/nodes", exist_ok=True)
            if not self.fs.exists(f"{self.root}/{MARK}"):
                self.fs.pipe_file(f"{self.root}/{MARK}", b'{"format": 1}\n')
            for probe in (self.scratch / "work", Path(self.root) / "nodes") if self.is_local else (self.scratch,):
                probe.mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=probe).close()
        except Exception as error:  # each library of a bucket has errors of its own
            if self.is_local and not isinstance(error, OSError):
                raise
            raise self._refusal("write to", error) from None

    def _refusal(self, what: str, error: Exception) -> UserError:
        """The error of a store that does not answer, without the user and password of its URL."""
        named = self.url.partition("://")[2].rpartition("@")[0]  # libraries repeat it in other forms
        words = redacted(str(error)).replace(named or "\0", "***")
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {words}"
        return UserError(f"store: cannot {what} {redacted(self.url)!r}: {reason}; name another")

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
        try:
            found = json.loads(self.fs.cat_file(file))
        except ValueError:  # damaged: it only explains
            return None
        return found if isinstance(found, dict) else None

    def _record_definitions(self, node: Node) -> None:
        """Store the hash of each definition in the node's code version, once per version."""
        code = node.identity["code"]
        file = f"{self.root}/code/{code}.json"
        if ":" in code or self.fs.exists(file):  # a release or an override is no hash of definitions
            return
        self.fs.makedirs(f"{self.root}/code", exist_ok=True)
        self.fs.pipe_file(file, json.dumps(by_definition(node.entries)).encode())

    def has(self, node: Node) -> bool:
        """Whether a node is stored with all artifacts that its children need; false if its record is damaged."""
        record = self.read_or_none(self.place(node.key))
        return record is not None and node.needs <= set(record.artifacts)

    def read_or_none(self, key: str) -> Record | None:
        """The record of a node. None: there is none, or it is damaged."""
        try:
            return self.read(key)
        except (FileNotFoundError, DamageError):
            return None

    def read(self, key: str) -> Record:
        """The record of a stored node.

        Raises:
            FileNotFoundError: if there is none.
            DamageError: if it is not what was written.
        """
        key = self.place(key)
        try:
            record = Record.of_json(self.fs.cat_file(f"{self.root}/nodes/{key}/{RECORD}"))
        except ValueError as error:
            raise DamageError(key, [f"{RECORD}: {error}"]) from error
        if record.key != key:
            raise DamageError(key, [f"{RECORD} is that of {record.key}"])
        return record

    def result(self, node: Node) -> dict[str, Any]:
        """The JSON data that a stored node's computation returned."""
        return self.read(node.key).result

    def path(self, node: Node) -> Path:
        """Local folder with a node's artifacts, which are downloaded if the store is not local, and checked.

        Raises:
            FileNotFoundError: if the node is not stored.
            DamageError: if a file is not as recorded.
        """
        key = self.place(node.key)
        folder = Path(self.root) / "nodes" / key if self.is_local else self._downloaded(key, node)
        if key not in self.whole or not (folder / RECORD).exists():  # it may have been deleted since
            record = self.read(key)
            if wrong := differing(folder, record):
                if not self.is_local:
                    shutil.rmtree(folder)
                raise DamageError(key, wrong)
            self.whole.add(key)
        return folder

    def _downloaded(self, key: str, node: Node) -> Path:
        """Folder of this machine with a copy of a node."""
        local = self.scratch / "nodes" / key
        local.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(local.with_suffix(".lock")):  # workers of one machine share downloads
            if local.exists() and key not in self.whole and differing(local, self.read(key)):
                shutil.rmtree(local)  # damaged since it was downloaded
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
        with self.lock(node.key, waiting):
            if self.has(node):
                yield None
                return
            shutil.rmtree(folder / "out", ignore_errors=True)  # left by a process that was killed
            (folder / "out").mkdir(parents=True)
            yield folder

    @contextmanager
    def lock(self, key: str, waiting: Callable[[], None]) -> Iterator[None]:
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
            if Path(target).exists():  # stored before with fewer artifacts, or without a record
                Path(target).rename(work / "old")
            durable.rename(out, Path(target))
        else:
            for left in set(self.files(node.key)) - files.keys():  # of an upload that ended before its record
                self.fs.rm_file(f"{target}/{left}")
            for name in (*files, RECORD):
                self.fs.makedirs(f"{target}/{name}".rsplit("/", 1)[0], exist_ok=True)
                self.fs.put_file(str(out / name), f"{target}/{name}")
        shutil.rmtree(work)
        self.whole.add(node.key)

    def keys(self) -> list[str]:
        """Keys of all stored nodes."""
        return [key for key in self.folders() if self.fs.exists(f"{self.root}/nodes/{key}/{RECORD}")]

    def records(self) -> Iterator[Record]:
        """Records of all stored nodes, without damaged ones."""
        return (record for key in self.folders() if (record := self.read_or_none(key)) is not None)

    def folders(self) -> list[str]:
        """Keys of all folders of nodes, including nodes that are published or deleted in part; no other folders."""
        return [name for name in self.names() if is_key(name)]

    def names(self) -> list[str]:
        """Names of everything where nodes are kept."""
        base = f"{self.root}/nodes"
        if not self.fs.exists(base):
            return []
        return sorted(entry.rstrip("/").rsplit("/", 1)[-1] for entry in self.fs.ls(base, detail=False))

    def files(self, key: str) -> list[str]:
        """Names of all files in a node's folder."""
        return [name.split(f"/nodes/{key}/", 1)[1] for name in self.fs.find(f"{self.root}/nodes/{key}")]

    def size(self, key: str) -> int:
        """Size of a node's files in bytes."""
        return int(self.fs.du(f"{self.root}/nodes/{key}"))


def is_key(name: str) -> bool:
    """Whether a name can be a node's key."""
    return re.fullmatch(f"[0-9a-f]{{{KEY_LENGTH}}}", name) is not None


def differing(folder: Path, record: Record) -> list[str]:
    """What is wrong with the files of a node in a local folder."""
    return durable.differing(folder, {name: file["sha256"] for name, file in record.files.items()}, frozenset({RECORD}))


def _cache(url: str) -> Path:
    """Folder for scratch folders of a store that is not local."""
    return cache_folder() / hashlib.sha256(url.encode()).hexdigest()[:8]


def _file_record(path: Path) -> File:
    return {"bytes": path.stat().st_size, "sha256": durable.checksum(path)}
