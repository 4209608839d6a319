"""Controlled insertion: which item is inserted how often, in which steps, and how a row takes it up.

    Design --assigned--> items by cell --draw--> copies (item, step, slot) --splice--> rows

Everything else of a stream stays as it is, so the stream with insertions and the stream without are a minimal pair.

Source: Hubble, 2510.19811 (perturb_hubble.py): distinct sequence slots drawn uniformly from the batches
floor(T*a) to ceil(T*b) of a phase; splice at a document boundary; a window of the old length that holds the item whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cl.errors import UserError

Ints = npt.NDArray[np.int64]
Cell = tuple[int, int]
"""Copies of each item, and phase."""

ASSIGN, SLOTS, WINDOWS, CHOICE = range(4)  # purposes of random numbers, in their seeds


class Copy(NamedTuple):
    """One inserted copy of an item: its cell, and the step and the slot of the batch whose row takes it up."""

    item: int
    level: int
    phase: int
    step: int
    slot: int


class Spliced(NamedTuple):
    """A row with an item: ids [T+1], index of the boundary in the old row, ids dropped in front."""

    ids: Ints
    boundary: int
    offset: int


@dataclass(frozen=True)
class Design:
    """Which items are inserted, how often and when. Each item belongs to one cell.

    Args:
        of: name of the set whose training documents are the items, or whose passages and twins are pairs of items.
        levels: copies of an item; each level has as many items in each phase.
        phases: equal parts of a stage, each with its own items.
        stages: numbers of the stages with insertions.
        items: items per cell.
        tokens: tokens of an item, without the separator before it.

    Level 0 is always there: as many items as another level has, which are never inserted.

    Raises:
        UserError: for numbers with which there is nothing to insert or to compare.
    """

    of: str
    levels: tuple[int, ...]
    phases: int
    stages: tuple[int, ...]
    items: int
    tokens: int

    def __post_init__(self) -> None:
        if min(self.levels, default=1) < 1 or len(set(self.levels)) < len(self.levels):
            raise UserError(f"levels: {[*self.levels]} must be different numbers of at least 1; 0 is always there")
        if not self.stages or min(self.stages) < 1 or sorted(set(self.stages)) != [*self.stages]:
            raise UserError(f"stages: {[*self.stages]} must be rising numbers of stages, the first is 1")
        for name, least in (("phases", 1), ("items", 1), ("tokens", 2)):
            if (value := getattr(self, name)) < least:
                raise UserError(f"{name}: {value} must be at least {least}")

    @property
    def cells(self) -> list[Cell]:
        """All cells; phases are numbered through all stages from 1."""
        count = self.phases * len(self.stages)
        return [(level, phase) for level in (0, *self.levels) for phase in range(1, count + 1)]

    @property
    def size(self) -> int:
        """Number of all items."""
        return self.items * len(self.cells)

    @property
    def copies(self) -> int:
        """Copies in one stage."""
        return self.items * self.phases * sum(self.levels)

    def phases_of(self, t: int) -> range:
        """Phases of stage t."""
        first = self.stages.index(t) * self.phases + 1
        return range(first, first + self.phases)

    def stage_of(self, phase: int) -> int:
        """Stage of a phase."""
        return self.stages[(phase - 1) // self.phases]

    def span(self, phase: int, steps: int) -> range:
        """Optimizer steps of a phase, in a stage of `steps` steps."""
        place = (phase - 1) % self.phases
        return range(floor(steps * place / self.phases), ceil(steps * (place + 1) / self.phases))

    def chosen(self, seed: int) -> npt.NDArray[np.bool_]:
        """Of each item that is a pair, whether its second text is inserted: a random bit, anew for each seed [size]."""
        return _generator(seed, CHOICE).random_raw(self.size) >= np.uint64(2**63)

    def assigned(self, seed: int) -> dict[Cell, list[int]]:
        """Numbers of the items of each cell: a random assignment, anew for each seed of a run."""
        order: list[int] = _permutation(self.size, seed, ASSIGN).tolist()
        return {cell: order[at * self.items : (at + 1) * self.items] for at, cell in enumerate(self.cells)}


def draw(design: Design, t: int, seed: int, free: npt.NDArray[np.bool_]) -> list[Copy]:
    """Draw the slot of each copy of stage t. All slots are distinct.

    Args:
        design: the design.
        t: number of the stage.
        seed: seed of the run.
        free: whether the row of each slot may take up an item [steps, rows per batch].

    Raises:
        UserError: if a phase has fewer free rows than copies.
    """
    free, width = free.copy(), free.shape[1]
    assigned, found = design.assigned(seed), list[Copy]()
    for phase in design.phases_of(t):
        span = design.span(phase, len(free))
        wanted = [(item, level) for level in design.levels for item in assigned[level, phase] for _ in range(level)]
        places = np.flatnonzero(free[span.start : span.stop]) + span.start * width
        if len(wanted) > len(places):
            few = f"{len(wanted)} copies in phase {phase}, which has {len(places)} rows of the stage's own task"
            raise UserError(f"levels: {few}; insert fewer copies or train longer")
        chosen = places[_permutation(len(places), seed, SLOTS, t, phase)[: len(wanted)]]
        free.reshape(-1)[chosen] = False
        where = (divmod(int(place), width) for place in chosen)
        found += [Copy(item, level, phase, *at) for (item, level), at in zip(wanted, where, strict=True)]
    return found


def splice(row: Ints, item: Ints, separator: int, draws: tuple[int, int]) -> Spliced:
    """Put an item at a document boundary of a row, and cut the row to its old length without cutting the item.

    A boundary is a separator. A row without one lies inside a document: the item then starts the row, and a separator
    behind it keeps the document apart. (Our rule: what Hubble does with such a row was not read.)

    Args:
        row: ids of the row [T+1].
        item: separator and tokens of the item [L].
        separator: id of the separator.
        draws: random numbers that choose the boundary and the window.
    """
    boundaries = np.flatnonzero(row == separator)
    if not len(boundaries):
        return Spliced(np.concatenate([item, [separator], row])[: len(row)], 0, 0)
    boundary = int(boundaries[draws[0] % len(boundaries)])
    whole = np.concatenate([row[:boundary], item, row[boundary:]])
    first, last = max(0, boundary + len(item) - len(row)), min(boundary, len(item))
    offset = first + draws[1] % (last - first + 1)
    return Spliced(whole[offset : offset + len(row)], boundary, offset)


def splice_inside(row: Ints, item: Ints, separator: int, draw: int) -> tuple[Spliced, Ints]:
    """Put an item inside a document of a row, without a separator, and cut the end of the row to its old length.

    The item follows at least one token of the document, and every such place where it fits whole is equally likely.

    Args:
        row: ids of the row [T+1].
        item: separator and tokens of the item [L]; the separator is left out.
        separator: id of the separator.
        draw: random number that chooses the place.

    Returns:
        The row, whose boundary is the place of the item; and the ids of the document before it in the row, without a
        separator.

    Raises:
        UserError: if no place in the row follows a token of a document.
    """
    bare = item[1:]
    places = np.flatnonzero(row[: len(row) - len(bare)] != separator) + 1
    if not len(places):
        raise UserError("inside: a row has no place behind a token of a document; give longer rows or documents")
    place = int(places[draw % len(places)])
    starts = np.flatnonzero(row[:place] == separator)
    whole = np.concatenate([row[:place], bare, row[place:]])[: len(row)]
    return Spliced(whole, place, 0), row[int(starts[-1]) + 1 if len(starts) else 0 : place]


def windows(copies: Sequence[Copy], t: int, seed: int) -> list[tuple[int, int]]:
    """Random numbers for a splice, two for each copy of stage t."""
    raw = _generator(seed, WINDOWS, t).random_raw(2 * len(copies)).reshape(-1, 2)
    return [(int(one), int(other)) for one, other in raw]


def first_items(documents: Sequence[Ints], design: Design) -> Ints:
    """The items [size, tokens+1]: the beginnings of the first documents that are long enough, each beginning once.

    Args:
        documents: ids of each document, the separator first.
        design: the design.

    Raises:
        UserError: if there are too few.
    """
    length = design.tokens + 1
    found = dict.fromkeys(tuple(each[:length].tolist()) for each in documents if len(each) >= length)
    if len(found) < design.size:
        few = f"{len(found)} training documents of at least {design.tokens} tokens, {design.size} are needed"
        raise UserError(f"of: {design.of} has {few}; give it more text, or lower items, levels, phases or tokens")
    return np.array(list(found)[: design.size], dtype=np.int64)


def first_pairs(texts: Sequence[Ints], twins: Sequence[Ints], design: Design) -> tuple[Ints, Ints]:
    """Pairs of items, two arrays [size, tokens+1]: the beginnings of a text and of its twin, where they differ.

    Args:
        texts: ids of each text, a separator first and one last.
        twins: the same of their twins.
        design: the design.

    Raises:
        UserError: if there are too few.
    """
    length, taken, found = design.tokens + 1, set[tuple[int, ...]](), list[tuple[Ints, Ints]]()
    for pair in zip(texts, twins, strict=True):
        one, other = (tuple(each[:length].tolist()) for each in pair)
        if min(map(len, pair)) > length and one != other and not taken & {one, other}:
            taken |= {one, other}
            found.append((pair[0][:length], pair[1][:length]))
    if len(found) < design.size:
        few = f"{len(found)} training pairs that differ in their first {design.tokens} tokens, {design.size} are needed"
        raise UserError(f"of: {design.of} has {few}; give it more pairs, or lower items, levels, phases or tokens")
    one, other = zip(*found[: design.size], strict=True)
    return np.stack(one), np.stack(other)


def read_pairs(folder: Path, design: Design, seed: int) -> tuple[Ints, Ints]:
    """Of each pair of a set of passages, the item that is inserted and the other one, [size, tokens+1] each."""
    from safetensors.numpy import load_file

    stored = load_file(folder / "tokens.safetensors")

    def side(name: str) -> list[Ints]:
        return [row.astype(np.int64) for row in np.split(stored[name], stored[f"{name}.starts"][1:-1])]

    one, other = first_pairs(side("train"), side("train.twins"), design)
    second = design.chosen(seed)[:, None]
    return np.where(second, other, one), np.where(second, one, other)


def read_items(folder: Path, separator: int, design: Design, seed: int) -> Ints:
    """The items [size, tokens+1] from the folder of their set's data node.

    Args:
        folder: the folder. Of a set of passages, an item is a passage or its twin, by a random bit.
        separator: id of the separator.
        design: the design.
        seed: seed of the run.
    """
    from safetensors.numpy import load_file

    stored = load_file(folder / "tokens.safetensors")
    if "train.twins" in stored:
        return read_pairs(folder, design, seed)[0]
    ids = stored["train"].astype(np.int64)
    edges = [*np.flatnonzero(ids == separator).tolist(), len(ids)]
    return first_items([ids[start:end] for start, end in pairwise(edges)], design)


def _generator(*keys: int) -> np.random.Philox:
    """Random numbers that NumPy keeps between versions."""
    return np.random.Philox(np.random.SeedSequence(keys))


def _permutation(count: int, *keys: int) -> Ints:
    return np.argsort(_generator(*keys).random_raw(count), kind="stable")
