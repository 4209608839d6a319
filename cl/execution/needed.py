"""Keys that experiments need, which garbage collection keeps.

    ROOT/experiments/NAME/HASH.json   keys that one plan of an experiment needs; HASH is that of the keys
    ROOT/roots/NAME.json              the same for all plans, as written by earlier versions

A file is written once and never changed, so writers need no lock, and a file whose content has another hash is damaged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from cl import durable
from cl.hashing import digest


class Needed:
    """The needed keys of a store.

    Args:
        fs: fsspec file system of the store.
        root: root folder of the store.
        is_local: whether the file system is that of this machine.
    """

    def __init__(self, fs: Any, root: str, is_local: bool) -> None:
        self.fs, self.root, self.is_local = fs, root, is_local
        self._read: dict[str, list[str]] = {}  # files never change

    def add(self, name: str, keys: Iterable[str]) -> None:
        """Keep keys that experiment `name` needs, in addition to those of its earlier plans."""
        wanted = sorted(set(keys))
        file = f"{self.root}/experiments/{name}/{digest(wanted)}.json"
        content = json.dumps(wanted).encode()
        if self.is_local:
            durable.write(Path(file), content)
        else:
            self.fs.pipe_file(file, content)

    def all(self) -> tuple[dict[str, set[str]], list[str]]:
        """Needed keys by experiment, and the paths of files that are damaged."""
        found: dict[str, set[str]] = {}
        damaged: list[str] = []
        for name, file in self._files():
            keys = self._keys(file)
            found.setdefault(name, set()).update(keys or ())
            damaged += [file] if keys is None else []
        return found, damaged

    def drop(self, name: str) -> None:
        """Forget what an experiment needs."""
        for each, file in list(self._files()):
            if each == name:
                self.fs.rm_file(file)

    def _files(self) -> list[tuple[str, str]]:
        """Name of the experiment and path of each file."""
        folders = self._listed(f"{self.root}/experiments")
        new = [(PurePosixPath(folder).name, file) for folder in folders for file in self._listed(folder)]
        return new + [(PurePosixPath(file).stem, file) for file in self._listed(f"{self.root}/roots")]

    def _listed(self, folder: str) -> list[str]:
        """Paths in a folder, without hidden ones. Not by patterns: the store's own path may hold [ and *."""
        found = self.fs.ls(folder, detail=False) if self.fs.isdir(folder) else []
        return sorted(path for path in found if not PurePosixPath(path).name.startswith("."))

    def _keys(self, file: str) -> list[str] | None:
        """Keys in a file. None: the file is damaged."""
        if file in self._read:
            return self._read[file]
        try:
            keys = json.loads(self.fs.cat_file(file))
        except FileNotFoundError:  # dropped by another process since it was listed
            return []
        except (ValueError, RecursionError):
            return None
        is_new = PurePosixPath(file).parent.parent.name == "experiments"
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            return None
        if is_new and digest(keys) != PurePosixPath(file).stem:
            return None
        if is_new:
            self._read[file] = keys
        return keys
