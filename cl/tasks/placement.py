"""Places of documents by short records: which are kept, in which split, in which order. No text is needed for it."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.int64]

ORDER = ("test", "validation", "train")
"""Splits; a question that is stated for one is in none of those after it."""
RECORD = struct.Struct("<16sQB???")
"""A document: its rank in the shuffled order; its bytes of UTF-8; its split, as place in ORDER; whether the document
states the split; whether chance takes it for validation if none is stated; whether it has no text."""
FIELDS = [
    ("high", ">u8"),
    ("low", ">u8"),
    ("size", "<u8"),
    ("split", "u1"),
    ("stated", "?"),
    ("drawn", "?"),
    ("empty", "?"),
]
"""The fields of RECORD for NumPy; the rank in two halves."""


class Placed(NamedTuple):
    """Documents by place.

    Args:
        numbers: documents of each split, in the shuffled order.
        bytes: bytes of each split.
        empty: documents without text.
        duplicates: documents whose text occurred before.
        held_out: documents whose question is stated for an earlier split of ORDER.
    """

    numbers: dict[str, Numbers]
    bytes: dict[str, int]
    empty: int
    duplicates: int
    held_out: int


def placed(
    records: bytearray,
    sources: Sequence[tuple[int, int | None]],
    limit: int | None,
    measured_only: bool,
    held: Mapping[bytes, str],
) -> Placed:
    """De-duplicate, cap and order documents.

    Args:
        records: a RECORD of each document, in the order of reading.
        sources: documents of each source, and its limit in bytes (None: no limit).
        limit: limit of all sources together, in bytes.
        measured_only: leave out the training split, before limits count.
        held: split for which a question is stated, by its rank.
    """
    import numpy as np

    found = np.frombuffer(records, np.dtype(FIELDS))
    source = np.repeat(np.arange(len(sources)), [count for count, _ in sources])
    split, size, empty = _splits(found, source), found["size"].astype(np.int64), found["empty"]
    held_out = ~empty & (_strictest(records, held) < split)
    first, duplicates = _first(found, source, ~empty & ~held_out)
    if measured_only:
        first = first[split[first] != ORDER.index("train")]
    for number, (_, own) in enumerate(sources):
        mine = source[first] == number
        first = first[~mine | _within(np.where(mine, size[first], 0), own)]
    first = first[_within(size[first], limit)]
    numbers = {name: first[split[first] == ORDER.index(name)] for name in reversed(ORDER)}
    sizes = {name: int(size[part].sum()) for name, part in numbers.items()}
    return Placed(numbers, sizes, int(empty.sum()), duplicates, int(held_out.sum()))


def _splits(found: npt.NDArray[Any], source: Numbers) -> npt.NDArray[np.uint8]:
    """Split of each document. A benchmark without a validation split gives some of its training for one."""
    import numpy as np

    split, stated = found["split"].copy(), found["stated"]
    validated = np.unique(source[stated & (split == ORDER.index("validation"))])
    carved = stated & (split == ORDER.index("train")) & found["drawn"] & ~np.isin(source, validated)
    split[carved] = ORDER.index("validation")
    return split


def _strictest(records: bytearray, held: Mapping[bytes, str]) -> Numbers:
    """The split that each document's question is stated for, as place in ORDER."""
    import numpy as np

    if not held:
        return np.full(len(records) // RECORD.size, ORDER.index("train"))
    ranks = (bytes(records[start : start + 16]) for start in range(0, len(records), RECORD.size))
    return np.array([ORDER.index(held.get(rank, "train")) for rank in ranks])


def _first(found: npt.NDArray[Any], source: Numbers, asked: npt.NDArray[np.bool_]) -> tuple[Numbers, int]:
    """The first document of each text, by rank, and the number of others.

    Sources are read in turn. Of one source, documents that state no split come first, then those of test, so that the
    test example of two equal examples is kept.
    """
    import numpy as np

    turn = np.where(found["stated"], 1 + found["split"], 0)
    order = np.lexsort((turn, source))
    order = order[asked[order]]
    high, low = (found[name][order].astype(np.uint64) for name in ("high", "low"))
    by_rank = np.lexsort((low, high))  # stable: of equal ranks, the one that is read first stays first
    high, low = high[by_rank], low[by_rank]
    new = np.ones(len(by_rank), np.bool_)
    new[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    return order[by_rank[new]], int((~new).sum())


def _within(size: Numbers, limit: int | None) -> npt.NDArray[np.bool_]:
    """Whether each document, with all before it, is within a limit in bytes."""
    import numpy as np

    return np.ones(len(size), np.bool_) if limit is None else np.cumsum(size) <= limit
