"""What a gate decided about a stage, as plain data (`cl.methods.method.Gates`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Decision = Literal["accept", "hold", "rollback"]
FEWEST = 20
"""Items that an interval needs, our own limit: a percentile interval of 20 normal items at 95 % covers the mean in 92 %
of cases, of 5 items in 85 %."""


@dataclass(frozen=True)
class Change:
    """Change of one data set by a stage: mean of paired differences by item. Positive is better.

    Args:
        mean: mean difference, in units of the metric.
        low: lower bound of its interval.
        high: upper bound.
        items: number of items.
    """

    mean: float
    low: float
    high: float
    items: int


@dataclass(frozen=True)
class Certificate:
    """Record of one decision, with the parts that 2509.18868 asks of a certificate.

    Args:
        t: 1-based stage.
        target: the stage's task.
        window: split and number of items by set.
        method: name of the gating method and its settings: the margins as registered.
        verification: change of the target.
        regression: change of each retained set.
        decision: `accept`, `hold` or `rollback`.
        rollback_point: key of the last promoted state before the stage; a state that is not accepted gives way to it.
        audit: keys of the candidate's state and of both measurements, versions and code of the measurement.
    """

    t: int
    target: str
    window: dict[str, Any]
    method: dict[str, Any]
    verification: Change
    regression: dict[str, Change]
    decision: Decision
    rollback_point: str
    audit: dict[str, Any]

    @staticmethod
    def of_json(raw: Mapping[str, Any]) -> Certificate:
        """Inverse of `dataclasses.asdict`. Raises TypeError for a field that is missing or unknown."""
        regression = {name: Change(**each) for name, each in raw["regression"].items()}
        return Certificate(**{**raw, "verification": Change(**raw["verification"]), "regression": regression})

    @property
    def worst(self) -> str | None:
        """The retained set with the lowest lower bound. None: there is no retained set."""
        return min(self.regression, key=lambda name: self.regression[name].low, default=None)
