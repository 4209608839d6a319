"""Area under the ROC curve of a membership test, and how far chance alone moves it."""

from __future__ import annotations

import math
from collections.abc import Sequence

NORMAL_95 = 1.959964  # 97.5 % quantile of the normal distribution


def auc(members: Sequence[float], others: Sequence[float]) -> float:
    """Probability that a member's score exceeds that of another item; ties count one half (Mann-Whitney U / mn).

    Args:
        members: scores of the members.
        others: scores of the items that are none.

    Returns:
        The area, in [0, 1]; 0.5 is chance.
    """
    wins = sum((one > other) + 0.5 * (one == other) for one in members for other in others)
    return wins / (len(members) * len(others))


def null_half(members: int, others: int) -> float:
    """Half-width of the 95 % interval of the area around 0.5 if scores say nothing: 1.96 * sqrt((m + n + 1) / 12mn).

    Normal approximation of Mann-Whitney's U without ties.

    Args:
        members: number of members, m.
        others: number of other items, n.
    """
    return NORMAL_95 * math.sqrt((members + others + 1) / (12 * members * others))
