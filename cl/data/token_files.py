"""Arrays of a data node: mapped into memory by readers, and written in rounds by the node of a large text.

A reader holds the pages that it touches, and no copy. A writer keeps its rounds on the disk; a process that follows a
killed one goes on behind the last round.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cl import durable

FILE = "tokens.safetensors"
HEADER = 8  # bytes that state the length of the header
TYPES = {"I32": np.int32, "I64": np.int64, "BOOL": np.bool_, "U16": np.uint16, "U32": np.uint32}
"""Types of safetensors that data nodes hold."""
RESERVED = 4088  # bytes for the header of a file that is written in rounds, so that the arrays begin at byte 4096
ROUNDS = "rounds.json"


def kind_of_ids(tokenizer: Any) -> type[np.uint16 | np.uint32]:
    """Smallest type that holds every id of a tokenizer."""
    return np.uint16 if max(tokenizer.get_vocab().values()) < 2**16 else np.uint32


def mapped(folder: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a data node by name, read-only.

    The format is that of safetensors: the length of a JSON header, the header with type, shape and place of each
    array, the bytes of the arrays. The library's own reader copies arrays.

    Args:
        folder: folder of the data node.
    """
    path = folder / FILE
    with path.open("rb") as file:
        size = int.from_bytes(file.read(HEADER), "little")
        header: dict[str, dict[str, Any]] = json.loads(file.read(size))
    header.pop("__metadata__", None)
    return {name: _array(path, HEADER + size, about) for name, about in header.items()}


def _array(path: Path, start: int, about: dict[str, Any]) -> npt.NDArray[Any]:
    kind, shape, (first, last) = TYPES[about["dtype"]], tuple(about["shape"]), about["data_offsets"]
    if first == last:  # a file cannot be mapped for no bytes
        return np.zeros(shape, kind)
    return np.memmap(path, kind, "r", start + first, shape)


class Growing:
    """A token file that is written in rounds, one array after another.

    Args:
        folder: folder that survives a crash; nothing else is in it.
        kind: type of the ids.
    """

    def __init__(self, folder: Path, kind: type[np.uint16 | np.uint32]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._state, self._kind = folder / FILE, folder / ROUNDS, np.dtype(kind)
        self._kept: dict[str, list[int]] = json.loads(self._state.read_bytes()) if self._state.exists() else {}
        self._path.touch()
        if self._path.stat().st_size < self._end():  # a process before this one ended after `finish`
            self._kept = {}
        os.truncate(self._path, self._end())

    def begin(self, name: str) -> int:
        """Go on with an array, or begin it; return how many documents of it are kept."""
        documents, _ = self._kept.setdefault(name, [0, 0])
        return documents

    def append(self, name: str, ids: npt.NDArray[Any], documents: int) -> None:
        """Keep a round of the newest array, with all documents up to a number."""
        assert name == list(self._kept)[-1]
        with self._path.open("ab") as file:
            file.write(ids.astype(self._kind).data)
            file.flush()
            os.fsync(file.fileno())
        self._kept[name] = [documents, self._kept[name][1] + ids.size]
        durable.write(self._state, json.dumps(self._kept).encode())

    def finish(self, target: Path) -> dict[str, int]:
        """Write the header, and rename the file; return the tokens of each array."""
        header, start = dict[str, Any](), 0
        for name, (_, tokens) in self._kept.items():
            stop = start + tokens * self._kind.itemsize
            letter = next(letter for letter, kind in TYPES.items() if self._kind == kind)
            header[name] = {"dtype": letter, "shape": [tokens], "data_offsets": [start, stop]}
            start = stop
        with self._path.open("r+b") as file:
            file.write(RESERVED.to_bytes(HEADER, "little") + json.dumps(header).encode().ljust(RESERVED))
        self._path.rename(target)
        return {name: tokens for name, (_, tokens) in self._kept.items()}

    def _end(self) -> int:
        """Bytes of the file as kept."""
        return HEADER + RESERVED + self._kind.itemsize * sum(tokens for _, tokens in self._kept.values())
