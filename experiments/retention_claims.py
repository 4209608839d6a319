"""Curves of what is kept, over draws of passages, and the claims of arXiv 2303.17557 on them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from intervals import Interval

from cl.metrics.records import ExperimentResult, RunResult

LABELS = {"recognised": "recognition", "rouge_l": "recall", "exact": "recall", "twin": "recall"}


@dataclass
class Curves:
    """Measures of the studied passages by state, one value per draw.

    Args:
        results: the result of each draw.
        states: names of the states in order: before and after the study, steps of the interference, its end.
    """

    results: Sequence[ExperimentResult]
    states: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        (run,) = self.results[0].runs
        self.study = run.order.index("study") + 1
        self.steps = sorted({each.step for each in run.inside if each.row == self.study + 1 and each.step is not None})
        end = run.stages[-1].points[-1].step
        self.states = ("before", "studied", *(f"step {step}" for step in self.steps), f"step {end}")

    def at(self, measure: str, state: str) -> Interval:
        """A measure at a state, over draws."""
        place = self.states.index(state)
        return Interval(tuple(self._value(result.runs[0], measure, place) for result in self.results))

    def _value(self, run: RunResult, measure: str, place: int) -> float:
        label = LABELS[measure]
        if place < 2 or place == len(self.states) - 1:
            row = self.study - 1 + place if place < 2 else self.study + 1
            return run.probes[label][row]["study"][measure]
        wanted = (label, self.study + 1, self.steps[place - 2])
        return next(e.sets["study"][measure] for e in run.inside if (e.label, e.row, e.step) == wanted)

    def lost(self, measure: str, state: str) -> Interval:
        """Share of what the study gave that is lost at a state, by draw; NaN where it gave nothing."""
        rows = zip(*(self.at(measure, name).values for name in ("before", "studied", state)), strict=True)
        return Interval(tuple((s - now) / (s - b) if s > b else math.nan for b, s, now in rows))


def verdicts(found: Mapping[str, Curves]) -> list[tuple[str, str, str]]:
    """Claim, verdict and figures. A verdict is `yes` or `no` only if the interval over draws excludes the other."""
    made = []
    if "sentences" in found:
        curves = found["sentences"]
        studied = curves.at("recognised", "studied")
        made.append(("sentences are recognised after the study (0.9 or more)", _above(studied, 0.9), str(studied)))
        early = curves.states[-2]
        gap = curves.lost("rouge_l", early) - curves.lost("recognised", early)
        made.append((f"recall is lost faster than recognition ({early})", _above(gap, 0.0), f"difference {gap}"))
    if {"sentences", "words"} <= found.keys():
        end = found["sentences"].states[-1]
        gap = found["words"].lost("rouge_l", end) - found["sentences"].lost("rouge_l", end)
        made.append(("recall of sentences outlasts that of random words", _above(gap, 0.0), f"difference {gap}"))
    return made


def _above(value: Interval, limit: float) -> str:
    if math.isnan(value.mean):
        return "undefined: in one draw the study gave nothing"
    if len(value.values) < 2:
        return "one draw"
    if value.mean - value.half > limit or min(value.values) == max(value.values) > limit:
        return "yes"
    return "no" if value.mean + value.half < limit else "not shown"
