"""Arrays of a data node, mapped into memory: whoever reads them holds the pages that it touches, and no copy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FILE = "tokens.safetensors"
HEADER = 8  # bytes that state the length of the header
TYPES = {"I32": np.int32, "I64": np.int64, "BOOL": np.bool_, "U16": np.uint16, "U32": np.uint32}
"""Types of safetensors that data nodes hold."""


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
