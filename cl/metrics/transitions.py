"""Item transitions: which questions of a set are right in one row of R and wrong in another.

A mean score hides what happens to single answers: a tenth forgotten and a tenth gained leave it as it was. Let a and b
be the scores of one set before and after, on the same questions, and k the number of answers that a guess chooses from:

    F = share right before and wrong after    (1 -> 0, forgotten)
    G = share wrong before and right after    (0 -> 1, gained; the paper's backward transfer)
    C = (1 - a) (1 - b) / (k - 1)             (share that flips in either direction by guessing alone)
    F_true = max(F - C, 0),  G_true = max(G - C, 0)

An answer is known or guessed uniformly among k, and guesses before and after are independent. To each wrong guess
belong 1 / (k - 1) lucky ones, and a flip by guessing needs a lucky guess at one time and a wrong one at the other.
What this cannot tell: a forgotten answer that is then guessed right counts as kept, so F_true is a lower bound; and
where a model no longer names any option, C is too large and F_true too small.

Source: Harmon et al. 2025, arXiv 2510.17776, section 2; read in the paper and in its code (src/analyze/create_csv.py).
Deviations: a set whose questions have different numbers of options gets one k (`options`); means over runs are taken
before the difference is clipped at 0, because the mean of clipped values is not 0 where nothing happened.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from cl.metrics.records import RunResult
from cl.tasks.example import Example

RIGHT, WRONG = "1", "0"
OF_CONTENT = ("strict", "normalised")
"""Scores that a lucky guess can reach; a well-formed answer is no matter of luck."""


@dataclass(frozen=True)
class Transitions:
    """Answers to the same questions in two rows of R.

    Args:
        questions: number of questions.
        before: number that are right before.
        forgotten: number that are right before and wrong after.
        gained: number that are wrong before and right after.
        options: number of answers that a guess chooses from; None: answers are free, or the score is not of content.
    """

    questions: int
    before: int
    forgotten: int
    gained: int
    options: float | None = None

    @property
    def after(self) -> int:
        """Number that are right after."""
        return self.before - self.forgotten + self.gained

    @property
    def chance(self) -> float:
        """Expected share of questions that flip in one direction by guessing alone, C; NaN without options."""
        if self.options is None:
            return math.nan
        wrong = (1 - self.before / self.questions) * (1 - self.after / self.questions)
        return wrong / (self.options - 1)


@dataclass(frozen=True)
class Shares:
    """Shares of the questions of a set, means over runs.

    Args:
        forgotten: right before, wrong after: F.
        gained: wrong before, right after: G.
        forgotten_true: beyond chance: F_true; NaN if answers are free.
        gained_true: beyond chance: G_true; NaN if answers are free.
    """

    forgotten: float
    gained: float
    forgotten_true: float
    gained_true: float


@dataclass(frozen=True)
class Change:
    """What became of the answers of a strategy to one set by the last row of R.

    Args:
        strategy: label of the strategy.
        name: name of the set.
        questions: number of questions of one run.
        options: number of answers that a guess chooses from; None: answers are free, or the score is not of content.
        learned: shares since the row after which the set was learned, mean over the runs that learned more afterwards;
            None: there are none.
        first: shares since the first row; None: there is no other row.
    """

    strategy: str
    name: str
    questions: int
    options: float | None
    learned: Shares | None
    first: Shares | None


def count(before: str, after: str, options: float | None = None) -> Transitions:
    """Count the transitions between two rows.

    Args:
        before: one character per question, 1 = right.
        after: the same questions later.
        options: number of answers that a guess chooses from.

    Raises:
        ValueError: for rows of different length, or without questions.
    """
    if not before:
        raise ValueError("no question was answered")
    pairs = list(zip(before, after, strict=True))
    return Transitions(
        len(pairs), before.count(RIGHT), pairs.count((RIGHT, WRONG)), pairs.count((WRONG, RIGHT)), options
    )


def shares(found: Sequence[Transitions]) -> Shares:
    """Shares of questions, mean over the runs; what chance explains is subtracted from the mean, then clipped at 0."""
    forgotten = statistics.fmean(each.forgotten / each.questions for each in found)
    gained = statistics.fmean(each.gained / each.questions for each in found)
    chance = statistics.fmean(each.chance for each in found)
    beyond = [math.nan if math.isnan(chance) else max(share - chance, 0.0) for share in (forgotten, gained)]
    return Shares(forgotten, gained, *beyond)


def options(asked: Sequence[Example]) -> float | None:
    """Number of answers that a guess chooses from: k with 1 / (k - 1) = the mean of 1 / (k_i - 1) over questions i.

    C is linear in 1 / (k - 1), so a set of one k keeps it, and a question with a free answer counts as k_i = infinity.
    k_i is the number of options of a label or a single letter (where they are not stated: of distinct references of the
    set), and 2 for Yes or No. An answer of several letters counts as free.

    Args:
        asked: the questions that were answered.

    Returns:
        k; None if all answers are free, or if a question has fewer than two options, which makes any answer luck.
    """
    references = len({example.answer for example in asked})
    found = [_options(example, references) for example in asked]
    if not found or any(k is not None and k < 2 for k in found):
        return None
    odds = statistics.fmean(0.0 if k is None else 1 / (k - 1) for k in found)
    return 1 + 1 / odds if odds else None


def _options(example: Example, references: int) -> int | None:
    """The k of one question; None if its answer is free."""
    if example.style == "yes_no":
        return 2
    if example.style == "label" or (example.style == "choice" and len(example.answer.strip()) == 1):
        return len(example.options) or references
    return None


def between(run: RunResult, name: str, start: int, end: int, score: str = "strict") -> Transitions | None:
    """Transitions of a run on one set between two rows of R; None if it was not answered in both.

    Args:
        run: the run.
        name: name of the set.
        start: earlier row.
        end: later row.
        score: name of the score.
    """
    before, after = (run.answers.get(t, {}).get(name, {}).get(score) for t in (start, end))
    if before is None or after is None:
        return None
    return count(before, after, run.options.get(name) if score in OF_CONTENT else None)


def learned_in(run: RunResult, name: str) -> int | None:
    """The row of R after which a task was learned; None for a set that no stage of its own learned.

    A task that the model knew was learned before the first row. A run whose tasks were learned together, or each from
    the base model, has no such row.
    """
    if run.independent or name not in run.order:
        return None
    row = max(run.order.index(name) + 1, run.known)
    return row if row in run.matrix else None


def first_row(run: RunResult, name: str) -> int | None:
    """The first row of R in which answers to a set were scored; None where rows do not follow one another."""
    return None if run.independent else min((t for t, row in run.answers.items() if name in row), default=None)


def answered(run: RunResult) -> list[str]:
    """Names of the sets whose answers were scored, in the order of R's columns."""
    return list(dict.fromkeys(name for row in run.answers.values() for name in row))


def pairs(run: RunResult) -> list[tuple[int, int]]:
    """All pairs of an earlier and a later row of R; of a run whose rows do not follow one another, with the first."""
    rows = sorted(run.answers)
    return [(s, e) for s, e in combinations(rows, 2) if not run.independent or s == rows[0]]


def changes(runs: Sequence[RunResult], score: str = "strict") -> list[Change]:
    """What became of the answers by the last row of R, by strategy and set.

    Args:
        runs: runs of one strategy or several, in any task orders.
        score: name of the score.
    """
    found = []
    for label in dict.fromkeys(run.strategy for run in runs):
        own = [run for run in runs if run.strategy == label]
        for name in dict.fromkeys(name for run in own for name in answered(run)):
            learned, first = (
                [_to_the_end(run, name, start, score) for run in own] for start in (learned_in, first_row)
            )
            counts = [[each for each in of if each is not None] for of in (learned, first)]
            if any(counts):
                one = next(iter(counts[0] + counts[1]))
                means = [shares(of) if of else None for of in counts]
                found.append(Change(label, name, one.questions, one.options, *means))
    return found


def _to_the_end(
    run: RunResult, name: str, start: Callable[[RunResult, str], int | None], score: str
) -> Transitions | None:
    """Transitions to the last row of a run; None if there is no earlier row."""
    row, last = start(run, name), max(run.answers, default=None)
    return None if row is None or last is None or row == last else between(run, name, row, last, score)
