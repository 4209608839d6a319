"""Promotion gate with rollback: take a learned task only if harm to what was learned before is ruled out.

Own proposal after the update loop of arXiv 2509.18868 (read): register thresholds before, verify the gain, constrain
the regression, roll back otherwise, and keep a certificate. The paper calls its own thresholds illustrative (a drawdown
of at most 1-2 %). So the defaults here are ours, and the test is of non-inferiority: "no significant drop" would let
through whatever was measured on too few items.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cl.errors import UserError
from cl.methods.gates import Change, Decision, Gates
from cl.methods.method import InSomeTasks, Method

DEFAULT_MARGIN = 0.01
"""Own default: 1 point of a score, or 0.01 nats/token."""


def decide(gain: float, required: float, bounds: Iterable[tuple[float, float]], margin: float) -> Decision:
    """Accept, hold or roll back.

    - `rollback`: the interval of some retained set lies below -margin: harm is shown;
    - `accept`: else, if the gain is at least `required` and no interval reaches below -margin: harm is ruled out;
    - `hold`: otherwise.

    All sets must pass, so a state that harms one of them by more than the margin is accepted with at most the chance
    (1 - level) / 2 that this set's own interval is wrong; several sets need no correction (derived). For `rollback`
    one set suffices, so with many sets it is said more often than the level states; `hold` and `rollback` have the
    same effect.

    Args:
        gain: mean gain on the new task.
        required: smallest gain.
        bounds: interval of the change of each retained set; positive is better.
        margin: largest harm that is tolerated, at least 0.
    """
    bounds = list(bounds)
    if any(high < -margin for _, high in bounds):
        return "rollback"
    harmless = all(low >= -margin for low, _ in bounds)
    return "accept" if harmless and gain >= required else "hold"


@dataclass(eq=False)
class Promotion(InSomeTasks, Gates):
    """After each task, keep its state only if it gains enough and harms nothing by more than a margin.

    Args:
        gain: smallest mean gain on the new task, in units of the metric.
        margin: largest tolerated harm to each retained set, in units of the metric.
        retain: retain or general sets of the scenario that are protected beside the tasks taken so far.
        metric: `loss` (nats/token, by row), or a score of answers (`strict`, `normalised`, `format_ok`, by question).
        interval: level of the two-sided bootstrap intervals; the lower bound has half of the error.
        tasks: stages that are gated: `all`, `first` or `later`; other stages are taken as they are.

    Compared are the candidate and the last promoted state t*, item by item on validation data; test data decide
    nothing. Unless it is accepted, the next task and the row of R start from t* bit for bit.

    What it cannot do:

    - It speaks of these two states on these items, not of other seeds.
    - Each task may harm by up to the margin, so small harms add up over a long stream.
    - Rows of one document are not independent, and intervals over them are too narrow.

    Keeps between tasks: the last promoted state.
    """

    gain: float = 0.0
    margin: float = DEFAULT_MARGIN
    retain: list[str] = field(default_factory=list)
    metric: str = "loss"
    interval: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.gain):
            raise UserError(f"gain: {self.gain} must be a finite number")
        if not 0 <= self.margin < math.inf:
            raise UserError(f"margin: {self.margin} must be a finite number of at least 0: a tolerated harm")
        if len(set(self.retain)) < len(self.retain):
            raise UserError(f"retain: {self.retain} names a set twice; remove one")
        if not 0 < self.interval < 1:
            raise UserError(f"interval: {self.interval} must be a level between 0 and 1, such as 0.95")

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Warn where only the gain decides."""
        unprotected = self.tasks == "first" and not self.retain
        return ["the first task is judged by its gain alone; name sets under retain"] if unprotected else []

    def decide(self, gain: Change, regression: Mapping[str, Change]) -> Decision:
        """Return the decision by the gain and the intervals of all retained sets."""
        bounds = ((change.low, change.high) for change in regression.values())
        return decide(gain.mean, self.gain, bounds, self.margin)
