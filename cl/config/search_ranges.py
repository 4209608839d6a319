"""Search ranges, written in the experiment in place of single values.

    train: {lr: {value: 1.0e-3, low: 1.0e-4, high: 1.0e-2, log: true}}
    strategy: {replay: {share: {value: 0.05, choices: [0, 0.05, 0.25]}}}

`cl run` uses `value`; `cl tune` searches the range and tries `value` first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cl.errors import UserError

if TYPE_CHECKING:
    from optuna import Trial

NUMBERS, CHOICES = {"value", "low", "high"}, {"value", "choices"}


@dataclass(frozen=True)
class Range:
    """Search range of one setting: one of `choices`, or a number from `low` to `high`.

    Numbers are whole if `low`, `value` and `high` are whole.

    Args:
        key: dotted key of the setting.
        value: value without a search.
        low: smallest number.
        high: largest number.
        log: search on a logarithmic scale.
        step: distance between two numbers.
        choices: possible values, for a range without numbers.
    """

    key: str
    value: Any
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    choices: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if self.choices:
            if self.value not in self.choices:
                raise UserError(f"{self.key}: value {self.value!r} is none of the choices {list(self.choices)}")
            return
        numbers = (self.low, self.value, self.high)
        if any(isinstance(each, bool) or not isinstance(each, (int, float)) for each in numbers):
            raise UserError(f"{self.key}: low, value and high {list(numbers)} must be numbers; or give choices")
        assert self.low is not None and self.high is not None  # noqa: PT018
        if not self.low <= self.value <= self.high or self.low == self.high:
            raise UserError(f"{self.key}: value {self.value} must be between low {self.low} and high {self.high}")
        if self.log not in (True, False):
            raise UserError(f"{self.key}: log {self.log!r} must be true or false")
        if self.log and (self.low <= 0 or self.step is not None):
            raise UserError(f"{self.key}: log needs low {self.low} above 0 and no step")
        whole = all(isinstance(each, int) for each in numbers)
        if self.step is not None and not _is_step(self.step, whole):
            raise UserError(
                f"{self.key}: step {self.step!r} must be above 0, and whole if low, value and high are whole"
            )

    @property
    def another(self) -> Any:
        """A value of the range that differs from `value`."""
        return next(each for each in (*self.choices, self.low, self.high) if each not in (None, self.value))

    def suggest(self, trial: Trial) -> Any:
        """Draw a value with the sampler of an Optuna trial."""
        if self.choices:
            return trial.suggest_categorical(self.key, self.choices)
        assert self.low is not None and self.high is not None  # noqa: PT018
        if all(isinstance(each, int) for each in (self.low, self.value, self.high)):
            return trial.suggest_int(self.key, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, step=self.step, log=self.log)


def extract(raw: Mapping[str, Any], prefix: str = "") -> tuple[dict[str, Any], dict[str, Range]]:
    """Separate search ranges from an experiment's plain data.

    Args:
        raw: plain data with ranges.
        prefix: dotted key of `raw`, with a final dot.

    Returns:
        Plain data with each range replaced by its value, and the ranges by dotted key.
    """
    plain: dict[str, Any] = {}
    found: dict[str, Range] = {}
    for key, value in raw.items():
        where = f"{prefix}{key}"
        if isinstance(value, Mapping) and (value.keys() >= NUMBERS or value.keys() >= CHOICES):
            found[where] = _range(where, value)
            plain[key] = found[where].value
        elif isinstance(value, Mapping):
            plain[key], own = extract(value, f"{where}.")
            found |= own
        else:
            plain[key] = value
    return plain, found


def _range(key: str, value: Mapping[str, Any]) -> Range:
    known = CHOICES if value.keys() >= CHOICES else NUMBERS | {"log", "step"}
    if wrong := sorted(value.keys() - known):
        raise UserError(f"{key}: a search range has no {wrong[0]!r}; it may have {', '.join(sorted(known))}")
    if "choices" in value:
        if not isinstance(value["choices"], list) or len(value["choices"]) < 2:
            raise UserError(f"{key}: choices {value['choices']!r} must be a list of at least two")
        return Range(key, _number(value["value"]), choices=tuple(map(_number, value["choices"])))
    return Range(key, **{name: _number(each) for name, each in value.items()})


def _is_step(step: Any, whole: bool) -> bool:
    """Whether a value is a distance between two numbers of a range, which may be whole."""
    return not isinstance(step, bool) and isinstance(step, int if whole else (int, float)) and step > 0


def _number(value: Any) -> Any:
    """Read text such as 1e-3 as a number: YAML 1.1 takes it for text, because it lacks a dot."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)
    return value
