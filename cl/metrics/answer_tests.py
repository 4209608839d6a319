"""Tests of single answers, for experiments with too few runs for a test of runs.

Such a test supports a claim about the trained checkpoints only. Units (seed x task order) answer the same questions,
and tasks are never pooled: the tested difference is the difference of `op_final`, averaged over units.

Sources: 2509.18868 asks for a declared unit of aggregation. The rule that items of one run support no claim about runs
is ours. The interval resamples whole units and whole questions, the pigeonhole bootstrap of crossed data (Owen 2007),
because all runs answer the same questions.
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
"""Questions of a task in order, each with the score of its answer."""
Answers = Mapping[str, Mapping[str, Mapping[str, Answered]]]
"""Answered questions by strategy, unit and task."""
Array = npt.NDArray[np.float64]
COUNTED = "units count different tasks (compare.skip leaves out others in each order)"
PAIRED = "units answered other questions, so answers cannot be paired"


@dataclass(frozen=True)
class ItemContrast:
    """Strategy `a` compared with `b` on single answers, for the checkpoints of this experiment only.

    Args:
        score: name of the score.
        a: label of the strategy that the verdict is about.
        b: label of the other strategy.
        units: number of units.
        tasks: number of tasks.
        questions: number of questions of all tasks.
        mean: mean difference a - b.
        interval: bootstrap interval of the mean.
        p: sign-flip test over questions.
        adjusted: p after Holm's adjustment.
        verdict: of `a`.
        reason: why the test is undefined; else empty.
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
        """The test in one sentence, including its scope."""
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
    """Test each pair on single answers, with Holm's adjustment over the pairs.

    Args:
        answers: answered questions of all strategies.
        pairs: pairs of labels (a, b).
        wanted: settings of the comparison.
    """
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
    """Test one pair, before Holm's adjustment."""
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
    """Two-sided p of "neither of these checkpoints answers better", by sign flips of questions.

    The differences of one question in all units flip together, because they are answers to the same question. Each
    question has the weight that it has in the mean over tasks.

    Args:
        differences: of each task, differences of scores, shape (units, questions).
    """
    return sign_flip(np.concatenate([each.mean(0) / each.shape[1] for each in differences]).tolist())


def crossed(differences: Sequence[Array], level: float, resamples: int, seed: int = 0) -> Interval:
    """Percentile bootstrap interval of the mean over tasks that resamples units and the questions of each task.

    Args:
        differences: of each task, differences of scores, shape (units, questions). With one unit, only questions are
            resampled.
        level: level of the interval.
        resamples: number of bootstrap samples.
        seed: seed of the bootstrap.
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
