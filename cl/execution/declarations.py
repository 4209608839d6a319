"""Declarations that a key has the result of a stored node with other code: see `cl.execution.accept`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cl.errors import UserError
from cl.execution.records import Declaration


class Declarations:
    """The declarations of a store: one JSON file per key in `ROOT/accepted`.

    Args:
        fs: fsspec file system of the store.
        root: root folder of the store.
    """

    def __init__(self, fs: Any, root: str) -> None:
        self.fs, self.folder = fs, f"{root}/accepted"

    def of(self, key: str) -> Declaration | None:
        """The declaration about a key. None: there is no declaration. Raises UserError if it is damaged."""
        file = f"{self.folder}/{key}.json"
        return self._read(file) if self.fs.exists(file) else None

    def _read(self, file: str) -> Declaration:
        try:
            return Declaration.of_json(self.fs.cat_file(file))
        except ValueError as error:
            remedy = "delete it, and accept again if it still holds"
            raise UserError(f"store: {file} is damaged: {error}; {remedy}") from error

    def all(self) -> dict[str, Declaration]:
        """All declarations by key."""
        files = self.fs.ls(self.folder, detail=False) if self.fs.exists(self.folder) else []
        return {Path(file).stem: self._read(file) for file in sorted(files)}

    def add(self, key: str, declaration: Declaration) -> None:
        """Declare that a key has the result of the node `declaration.of`."""
        self.fs.makedirs(self.folder, exist_ok=True)
        self.fs.pipe_file(f"{self.folder}/{key}.json", declaration.to_json().encode())

    def revoke(self, key: str) -> None:
        """Delete the declaration about a key."""
        self.fs.rm_file(f"{self.folder}/{key}.json")
