"""Orders in which the tasks of a stream are learned: all of them, a Latin square, or some drawn at random."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence

from cl.errors import UserError

MOST = 120
"""Orders of five tasks; an experiment of more would be a mistake rather than a wish."""

Order = list[str]


def orders(tasks: Sequence[str], asked: str | Mapping[str, int]) -> list[Order]:
    """Those of `all`, `latin_square` or {sample: N, seed: S}."""
    if isinstance(asked, str):
        return {"all": every, "latin_square": latin_square}[asked](tasks)
    return sample(tasks, asked["sample"], asked.get("seed", 0))


def every(tasks: Sequence[str]) -> list[Order]:
    """All T! orders, the given one first. Raises UserError for more than 120."""
    if math.factorial(len(tasks)) > MOST:
        raise UserError(
            f"orders: {len(tasks)} tasks have {math.factorial(len(tasks)):,} orders, more than {MOST}; "
            "take `latin_square` or {sample: N}"
        )
    return [list(order) for order in itertools.permutations(tasks)]


def latin_square(tasks: Sequence[str]) -> list[Order]:
    """T orders in which each task stands once at every place, the given one first.

    For an even number of tasks each also follows every other exactly once (Williams 1949), so that what a task does to
    the next one is balanced; of an odd number no T orders can have that.
    """
    count = len(tasks)
    zigzag = [(place + 1) // 2 if place % 2 else -place // 2 % count for place in range(count)]  # 0, 1, T-1, 2, T-2 …
    place_of = {number: place for place, number in enumerate(zigzag)}
    return [[tasks[place_of[(number + shift) % count]] for number in zigzag] for shift in range(count)]


def sample(tasks: Sequence[str], count: int, seed: int) -> list[Order]:
    """So many different random orders. Raises UserError where there are not so many."""
    if not 1 <= count <= math.factorial(len(tasks)):
        raise UserError(
            f"orders.sample: {count} is not between 1 and the {math.factorial(len(tasks)):,} orders there are"
        )
    generator, found = random.Random(seed), dict[tuple[str, ...], None]()
    while len(found) < count:
        found[tuple(generator.sample(list(tasks), len(tasks)))] = None
    return [list(order) for order in found]
