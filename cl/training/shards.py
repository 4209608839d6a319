"""Tensors of one part of a checkpoint, which one process has written, or several of which each has its rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from cl.models import sharding


class Shards:
    """Tensors by name, read when they are asked for.

    Args:
        folder: the checkpoint.
        part: first part of the names of the files: `model` of `model.safetensors` and `model.00000.safetensors`, ….
    """

    def __init__(self, folder: Path, part: str) -> None:
        self.pieces: dict[str, list[Any]] = {}
        for path in sorted(folder.glob(f"{part}.*safetensors")):
            file: Any = safe_open(str(path), framework="pt")
            for name in file.keys():  # noqa: SIM118  (no mapping)
                self.pieces.setdefault(name, []).append(file)

    def __iter__(self) -> Iterator[str]:
        return iter(self.pieces)

    def __contains__(self, name: str) -> bool:
        return name in self.pieces

    def like(self, name: str, other: Tensor | None = None) -> Tensor:
        """A tensor, of which this process reads no more rows than it holds of `other`, if that is sharded.

        Args:
            name: name of the tensor.
            other: the tensor in whose place the stored one is put. None: read all rows.
        """
        pieces = [file.get_slice(name) for file in self.pieces[name]]
        shape = [sum(piece.get_shape()[0] for piece in pieces), *pieces[0].get_shape()[1:]] if len(pieces) > 1 else None
        shape = shape or pieces[0].get_shape()
        if other is not None and sharding.is_sharded(other) and list(other.shape) == shape:
            return sharding.from_rows(_rows(pieces, sharding.rows(other)).to(other.device), other)
        return _rows(pieces, slice(0, shape[0])) if shape else self.pieces[name][0].get_tensor(name)


def _rows(pieces: list[Any], wanted: slice) -> Tensor:
    """Some rows of a tensor that is the concatenation of pieces."""
    found: list[Tensor] = []
    first = 0
    for piece in pieces:
        last = first + piece.get_shape()[0]
        if max(wanted.start, first) < min(wanted.stop, last) or not found:
            found.append(piece[max(wanted.start - first, 0) : max(min(wanted.stop, last) - first, 0)])
        first = last
    return torch.cat(found) if len(found) > 1 else found[0]
