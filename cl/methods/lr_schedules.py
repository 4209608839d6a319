"""Learning rate at an optimizer step, as pure functions of the step; so a resumed stage continues exactly.

Symbols: t = step (number of updates done in the stage; t = total at its end), T_w = end of the warm-up.
Every schedule warms up linearly: eta * max(1, t) / T_w. As in GPT-NeoX, it starts at eta/T_w instead of 0
(its PR 1194 starts at 0).

Sources:

- re-warming: arXiv 2403.08763 Eq. 1-2;
- infinite schedules: same paper, in the form of GPT-NeoX PR 1194;
- warmup-stable-decay: arXiv 2404.06395;
- 1-sqrt decay: arXiv 2405.18392.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Literal

from cl.errors import UserError

Decay = Literal["exponential", "linear", "1-sqrt"]
DECAYS = ("exponential", "linear", "1-sqrt")


def boundary(total: int, fraction: float) -> int:
    """Optimizer step at which `fraction` of a stage of `total` steps is done.

    The fraction is read as a decimal number (0.01 + 0.59 = 0.6), so that both constructors of `Phases` agree.
    """
    return round(_exact(fraction) * total)


@dataclass(frozen=True)
class Phases:
    """Ends of a stage's phases, in optimizer steps of the stage. A phase of length 0 is skipped.

    Compute the ends once per stage: a later change of `total` would move them.

    Args:
        total: end of the decay, and of the stage.
        warmup: end of the warm-up.
        cooldown: end of the cool-down.
        constant: end of the constant phase.

    Raises:
        UserError: unless 0 <= warmup <= cooldown <= constant <= total.
    """

    total: int
    warmup: int
    cooldown: int
    constant: int

    def __post_init__(self) -> None:
        ends = (0, self.warmup, self.cooldown, self.constant, self.total)
        if list(ends) != sorted(ends):
            raise UserError(
                f"schedule: phase ends {ends[1:]} of warmup, cooldown, constant and the stage do not ascend from 0; "
                "give cumulative fractions between 0 and 1 in ascending order"
            )

    @classmethod
    def cumulative(
        cls, total: int, *, warmup: float = 0.0, cooldown_end: float | None = None, constant_end: float = 1.0
    ) -> Phases:
        """Phases from the fractions of the stage at which they end. Without `cooldown_end` there is no cool-down."""
        cooldown = warmup if cooldown_end is None else cooldown_end
        return cls(total, boundary(total, warmup), boundary(total, cooldown), boundary(total, constant_end))

    @classmethod
    def durations(cls, total: int, *, warmup: float, cooldown: float, constant: float) -> Phases:
        """Phases from their lengths as fractions of the stage (the convention of GPT-NeoX PR 1194)."""
        ends = accumulate(map(_exact, (warmup, cooldown, constant)))
        return cls(total, *(round(end * total) for end in ends))


def constant(step: int, phases: Phases, *, eta_max: float) -> float:
    """Warm up, then stay at eta_max."""
    return _warmup(step, phases, eta_max)


def rewarm_cosine(step: int, phases: Phases, *, eta_max: float, eta_min: float) -> float:
    """Warm up, then decay to eta_min at the end of the stage along half a cosine (2403.08763 Eq. 1-2)."""
    if step < phases.warmup:
        return _warmup(step, phases, eta_max)
    return _cosine(_part(step, phases.warmup, phases.total), eta_max, eta_min)


def inf_cosine(step: int, phases: Phases, *, eta_max: float, eta_const: float, eta_min: float) -> float:
    """Warm up, cool down to eta_const along half a cosine, hold it, anneal exponentially to eta_min."""
    if step < phases.cooldown:
        x = _part(step, phases.warmup, phases.cooldown)
        return _warmup(step, phases, eta_max) if step < phases.warmup else _cosine(x, eta_max, eta_const)
    return _exponential(_part(step, phases.constant, phases.total), eta_const, eta_min)


def inf_invsqrt(
    step: int, phases: Phases, *, eta_max: float, eta_const: float, eta_min: float, alpha: float = 10.0
) -> float:
    """As `inf_cosine`, with the cool-down eta_max + (eta_const - eta_max) * h(x)/h(1), h(x) = 1/sqrt(1 + alpha x) - 1.

    Raises:
        UserError: unless alpha > 0.
    """
    if alpha <= 0:
        raise UserError(f"schedule alpha: {alpha} leaves no inverse square root; use a positive number such as 10")
    if step < phases.cooldown:
        x = _part(step, phases.warmup, phases.cooldown)
        fall = (1 / math.sqrt(1 + alpha * x) - 1) / (1 / math.sqrt(1 + alpha) - 1)
        return _warmup(step, phases, eta_max) if step < phases.warmup else eta_max + (eta_const - eta_max) * fall
    return _exponential(_part(step, phases.constant, phases.total), eta_const, eta_min)


def wsd(step: int, phases: Phases, *, eta_max: float, eta_min: float, decay: Decay = "1-sqrt") -> float:
    """Warm up, hold eta_max until `phases.constant`, then decay to eta_min.

    With x from 0 to 1 during the decay:

    - `1-sqrt`: eta_min + (eta_max - eta_min)(1 - sqrt x) (arXiv 2405.18392, there with eta_min = 0);
    - `linear`: eta_min + (eta_max - eta_min)(1 - x);
    - `exponential`: eta_max (eta_min/eta_max)^x.

    Deviation: arXiv 2404.06395 defines the exponential decay by its half-life; here its end value defines it.
    """
    if step < phases.constant:
        return _warmup(step, phases, eta_max)
    x = _part(step, phases.constant, phases.total)
    if decay == "exponential":
        return _exponential(x, eta_max, eta_min)
    if decay not in DECAYS:
        raise UserError(f"schedule decay: {decay!r} is not one of {', '.join(DECAYS)}")
    return eta_min + (eta_max - eta_min) * (1 - (x if decay == "linear" else math.sqrt(x)))


def _exact(fraction: float) -> Fraction:
    return Fraction(str(fraction))


def _part(step: int, start: int, end: int) -> float:
    """Completed fraction of the phase [start, end]; 0 before the phase, and for a phase of length 0."""
    return max(0, step - start) / (end - start) if end > start else 0.0


def _warmup(step: int, phases: Phases, eta: float) -> float:
    return eta * max(1, step) / phases.warmup if step < phases.warmup else eta


def _cosine(x: float, top: float, bottom: float) -> float:
    return bottom + (top - bottom) / 2 * (1 + math.cos(math.pi * x))


def _exponential(x: float, top: float, bottom: float) -> float:
    if bottom <= 0:
        raise UserError(f"schedule eta_min: {bottom} cannot be reached exponentially; use a positive minimum or floor")
    return float(top * (bottom / top) ** x)
