"""Tests of single answers, for experiments of too few runs to be tested: a claim about these checkpoints alone.

Units (seed x task order) share their questions, and tasks are never pooled: what is tested is the difference of the
mean over units of the mean over tasks of the mean over questions, which is that of `op_final`.

Source: 2509.18868 asks that the aggregation unit be said; that items of one run support no claim about runs is our
protocol's. The interval resamples units and questions, each as a whole (the pigeonhole bootstrap of crossed data, Owen
2007): questions are not nested in seeds, all runs answer the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from cl.config.compare import Compare
from cl.metrics.statistics import Interval, holm, sign_flip

Answered = Sequence[tuple[str, float]]
"""Questions of a task in order, each with the score of the answer."""
Answers = Mapping[str, Mapping[str, Mapping[str, Answered]]]
"""By strategy, by unit, by task."""
Array = npt.NDArray[np.float64]
COUNTED = "units count different tasks (compare.skip leaves out others in each order)"
PAIRED = "units answered other questions, so answers cannot be paired"


@dataclass(frozen=True)
class ItemContrast:
    """Strategy `a` against `b` on single answers, for the checkpoints of this experiment alone.

    questions: of all tasks; p: sign-flip over questions; the rest as in `cl.metrics.comparison.Contrast`.
    """

    score: str
    a: str
    b: str
    units: int
    tasks: int = 0
    questions: int = 0
    mean: float = math.nan
    interval: Interval = Interval(math.nan, math.nan)  # noqa: RUF009  # a constant
    p: float = math.nan
    adjusted: float = math.nan
    verdict: Literal["better", "worse", "not decided", "undefined"] = "undefined"
    reason: str = ""

    @property
    def sentence(self) -> str:
        """The test in one sentence, with how far it reaches."""
        if self.reason:
            return f"{self.a} and {self.b} cannot be compared by single answers: {self.reason}."
        said = {"better": "answers better than", "worse": "answers worse than"}.get(
            self.verdict, "is not told apart from"
        )
        return (
            f"These checkpoints: {self.a} {said} {self.b} ({self.score}): {self.mean:+.3f} ({self.interval.low:.3f} … "
            f"{self.interval.high:.3f}), p {self.p:.2g}, Holm {self.adjusted:.2g}, {self.questions} questions of "
            f"{_count(self.tasks, 'task')} in {_count(self.units, 'unit')}. It says nothing of other seeds or orders."
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def contrasts(answers: Answers, pairs: Sequence[tuple[str, str]], wanted: Compare) -> list[ItemContrast]:
    """Each pair on single answers; Holm over the pairs."""
    found = [_contrast(answers[a], answers[b], a, b, wanted) for a, b in pairs]
    judged = []
    for one, adjusted in zip(found, holm([one.p for one in found]), strict=True):
        verdict = one.verdict if not adjusted <= wanted.alpha else "better" if one.mean > 0 else "worse"
        judged.append(replace(one, adjusted=adjusted, verdict=verdict))
    return judged


def _contrast(
    first: Mapping[str, Mapping[str, Answered]],
    second: Mapping[str, Mapping[str, Answered]],
    a: str,
    b: str,
    wanted: Compare,
) -> ItemContrast:
    """A test without its place in the family."""
    score, units = str(wanted.items), list(first)
    tasks = list(first[units[0]])
    if not tasks or any(set(of[unit]) != set(tasks) for of in (first, second) for unit in units):
        return ItemContrast(score, a, b, len(units), reason=COUNTED)
    differences: list[Array] = []
    for task in tasks:
        asked = [[question for question, _ in of[unit][task]] for of in (first, second) for unit in units]
        if any(other != asked[0] for other in asked):
            return ItemContrast(score, a, b, len(units), reason=f"{task}: {PAIRED}")
        mine, theirs = (np.array([[s for _, s in of[unit][task]] for unit in units]) for of in (first, second))
        differences.append(mine - theirs)
    mean = float(np.mean([each.mean() for each in differences]))
    p, bounds = item_flip(differences), crossed(differences, wanted.level, wanted.resamples)
    questions = sum(each.shape[1] for each in differences)
    return ItemContrast(score, a, b, len(units), len(tasks), questions, mean, bounds, p, verdict="not decided")


def item_flip(differences: Sequence[Array]) -> float:
    """Two-sided p of "for these checkpoints no question is answered better by either", by sign flips of questions.

    differences: of each task [units, questions]. A question's differences in all units flip together, for they are
    answers to one question; each weighs as it does in the mean over tasks.
    """
    return sign_flip(np.concatenate([each.mean(0) / each.shape[1] for each in differences]).tolist())


def crossed(differences: Sequence[Array], level: float, resamples: int, seed: int = 0) -> Interval:
    """Percentile interval of the mean over tasks, with units and each task's questions drawn anew.

    differences: of each task [units, questions]. With one unit only questions are drawn.
    """
    generator = np.random.default_rng(seed)
    units = differences[0].shape[0]
    drawn = generator.multinomial(units, [1 / units] * units, resamples) / units  # [resamples, units]
    total = np.zeros(resamples)
    for each in differences:
        count = each.shape[1]
        questions = generator.multinomial(count, [1 / count] * count, resamples) / count
        total += np.einsum("ru,uq,rq->r", drawn, each, questions, optimize=True)
    low, high = np.quantile(total / len(differences), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
