"""Orders in which the tasks of a stream are learned: all orders, a Latin square, or random orders."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence

from cl.errors import UserError

MOST = 120
"""Most orders of `all`: the 120 orders of five tasks. More orders are probably a mistake."""

MOST_DRAWN = 1000
"""Most random orders, each of which is planned as runs of its own."""
LARGE = 30
"""Number of tasks from which on the number of orders (2e32) is only named as this large."""

Order = list[str]


def orders(tasks: Sequence[str], asked: str | Mapping[str, int]) -> list[Order]:
    """Return the task orders of `all`, `latin_square` or {sample: N, seed: S}.

    Args:
        tasks: tasks in the order of the scenario.
        asked: name of the design, or the number and seed of random orders.
    """
    if isinstance(asked, str):
        return {"all": every, "latin_square": latin_square}[asked](tasks)
    return sample(tasks, asked["sample"], asked.get("seed", 0))


def every(tasks: Sequence[str]) -> list[Order]:
    """Return all T! orders, the given order first; raises UserError for more than 120 orders."""
    if _count(tasks) > MOST:
        raise UserError(
            f"orders: {len(tasks)} tasks have {_count(tasks):,} orders, more than {MOST}; "
            "take `latin_square` or {sample: N}"
        )
    return [list(order) for order in itertools.permutations(tasks)]


def latin_square(tasks: Sequence[str]) -> list[Order]:
    """Return T orders in which each task has each position once, the given order first.

    For an even number of tasks each task also follows each other task exactly once (Williams 1949), so that the effect
    of a task on its successor is balanced. For an odd number of tasks no T orders have this property.
    """
    count = len(tasks)
    zigzag = [(place + 1) // 2 if place % 2 else -place // 2 % count for place in range(count)]  # 0, 1, T-1, 2, T-2 …
    place_of = {number: place for place, number in enumerate(zigzag)}
    return [[tasks[place_of[(number + shift) % count]] for number in zigzag] for shift in range(count)]


def sample(tasks: Sequence[str], count: int, seed: int) -> list[Order]:
    """Draw `count` different random orders; raises UserError if there are fewer orders."""
    if not 1 <= count <= _count(tasks):
        raise UserError(f"orders.sample: {count} is not between 1 and the {_count(tasks):,} orders there are")
    if count > MOST_DRAWN:
        raise UserError(f"orders.sample: {count} orders are more than {MOST_DRAWN}; draw fewer")
    generator, found = random.Random(seed), dict[tuple[str, ...], None]()
    while len(found) < count:
        found[tuple(generator.sample(list(tasks), len(tasks)))] = None
    return [list(order) for order in found]


def _count(tasks: Sequence[str]) -> int:
    """Number of orders, or that of `LARGE` tasks: the factorial of many tasks has more digits than can be printed."""
    return math.factorial(min(len(tasks), LARGE))
