"""Declaration of a metric: key, direction, unit, formula, description and source.

A metric is a function of result matrices under the decorator `formula`, which makes a `Formula` of it. The metrics of
this package are in the files of `cl.metrics.formulas`; docs/write_a_metric.md shows how to add one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

from cl.errors import UserError
from cl.metrics.result_matrix import UndefinedError

Better = Literal["lower", "higher"]
Input = Literal["scores", "losses", "strict", "normalised", "curves"]
Compute = Callable[..., float]

SCORE = "score in [0, 1]"
SCORE_CHANGE = "difference of scores, in [-1, 1]"
NATS = "nats/token"
PLACEHOLDER = re.compile(r"\{\w+\}")


@dataclass(frozen=True)
class Metric:
    """A value under the key of its metric.

    Args:
        key: key of the metric.
        value: NaN if the metric is undefined.
        reason: why the metric is undefined; else empty.
    """

    key: str
    value: float
    reason: str = ""


@dataclass(frozen=True)
class Formula:
    """A metric: a formula, and what its values mean. `formula` makes one of a function.

    Args:
        key: name of the metric in settings, tables and files. The name of the formula stands behind a slash
            ("forgetting/chaudhry"), because libraries disagree. A family of metrics, such as one per task, has a
            placeholder for its number ("op_t/{t}").
        better: end of the scale that is better.
        unit: unit of the values.
        description: the formula in one line.
        source: paper (arXiv id) or library that defines the formula.
        compute: the formula: a pure function of the inputs, and of the number if the metric is a family.
        inputs: what `compute` gets: result matrices of `scores` (higher is better; the strict score of a run), of
            `losses` (nats/token), of `strict` and `normalised` scores, or `curves` evaluated during training.
        compares_rows: whether the formula compares rows of R with one another. Such a metric is undefined if each task
            was learned from the base model, because then rows do not follow one another.
        mean_loss: whether the value is the mean loss over all tasks. `cl tune` then prunes trials by the validation
            loss.
        numbers: of a family: the numbers of its metrics, from the inputs. None for a single metric.

    Raises:
        UserError: a declaration is missing or unknown.
    """

    key: str
    better: Better
    unit: str
    description: str
    source: str
    compute: Compute
    inputs: tuple[Input, ...] = ("scores",)
    compares_rows: bool = False
    mean_loss: bool = False
    numbers: Callable[..., Iterable[int]] | None = None

    def __post_init__(self) -> None:
        for name in ("key", "unit", "description", "source"):
            if not getattr(self, name):
                raise UserError(f"metric {self.key or self.compute!r}: {name} is empty; declare it")
        for name, value, known in (("better", [self.better], Better), ("inputs", self.inputs, Input)):
            if not value or not set(value) <= {*get_args(known)}:
                raise UserError(f"metric {self.key!r}: {name} {value} must be of {', '.join(get_args(known))}")
        if (self.numbers is None) != (PLACEHOLDER.search(self.key) is None):
            raise UserError(f"metric {self.key!r}: a family has a placeholder in its key and declares `numbers`")

    def evaluate(self, *inputs: Any) -> Metric:
        """Value for the inputs; NaN with a reason if the formula raises UndefinedError or has no finite value."""
        try:
            value = self.compute(*inputs)
        except UndefinedError as reason:
            return Metric(self.key, math.nan, str(reason))
        except ZeroDivisionError:
            return Metric(self.key, math.nan, "division by zero")
        return Metric(self.key, value) if math.isfinite(value) else Metric(self.key, math.nan, f"the value is {value}")

    def members(self, *inputs: Any) -> list[Formula]:
        """The metrics of a family that the inputs have; a single metric is its only member."""
        return [self] if self.numbers is None else [self.member(number) for number in self.numbers(*inputs)]

    def member(self, number: int) -> Formula:
        """The metric of a family with this number."""
        compute = self.compute
        key = PLACEHOLDER.sub(str(number), self.key)
        return replace(self, key=key, compute=lambda *inputs: compute(*inputs, number), numbers=None)

    def matching(self, key: str) -> Formula | None:
        """The metric of this key: the formula itself, a member of the family, or None."""
        if self.numbers is None:
            return self if key == self.key else None
        head, tail = PLACEHOLDER.split(self.key)
        found = re.fullmatch(f"{re.escape(head)}(0|[1-9][0-9]*){re.escape(tail)}", key)
        return self.member(int(found[1])) if found else None


def formula(
    key: str, *, better: Better, unit: str, source: str, inputs: tuple[Input, ...] = ("scores",),
    compares_rows: bool = False, mean_loss: bool = False, numbers: Callable[..., Iterable[int]] | None = None,
) -> Callable[[Compute], Formula]:  # fmt: skip
    """Decorator that makes a `Formula` of a function; the first line of its docstring is the description.

    Args:
        key: see `Formula`, as all arguments.
        better: end of the scale that is better.
        unit: unit of the values.
        source: paper (arXiv id) or library.
        inputs: what the function gets.
        compares_rows: whether the function compares rows of R with one another.
        mean_loss: whether the value is the mean loss over all tasks.
        numbers: of a family: the numbers of its metrics, from the inputs.
    """

    def declare(compute: Compute) -> Formula:
        description = (compute.__doc__ or "").strip().partition("\n")[0]
        return Formula(key, better, unit, description, source, compute, inputs, compares_rows, mean_loss, numbers)

    return declare


def level_of_losses(of: Formula, key: str) -> Formula:
    """The metric on losses of a formula that is a mean of cells: a mean loss in nats/token, better where it is lower.

    Args:
        of: the formula on scores.
        key: key of the new metric.
    """
    return replace(
        of, key=key, better="lower", unit=NATS, description=f"{of.description.removesuffix('.')}, with R the loss.",
        inputs=("losses",), mean_loss=of.numbers is None,
    )  # fmt: skip


def change_of_losses(of: Formula, key: str) -> Formula:
    """The metric on losses of a formula that compares cells, in nats/token: the formula on the negated losses.

    The direction stays: forgetting is positive where the loss rose, transfer is positive where it fell.

    Args:
        of: the formula on scores.
        key: key of the new metric.
    """
    return replace(
        of, key=key, unit=NATS, description=f"{of.description.removesuffix('.')}, with R the negated loss.",
        inputs=("losses",), compute=partial(_negated, of.compute),
    )  # fmt: skip


def _negated(compute: Compute, losses: Any, *number: int) -> float:
    return compute(-losses, *number)
