"""Learning-rate schedules that restart in each stage.

The hook `schedule` returns a factor on the peak learning rate, so each schedule is a pure function of
`cl.methods.lr_schedules` with eta_max = 1. Re-warming and re-decaying: Ibrahim et al. 2024, arXiv 2403.08763, Eq. 1-2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from cl.errors import UserError
from cl.methods import lr_schedules
from cl.methods.lr_schedules import Phases
from cl.methods.method import InSomeTasks, Method, Progress, Trains


@dataclass(eq=False)
class Constant(InSomeTasks, Trains):
    """Warm up linearly, then keep a constant learning rate.

    Args:
        ratio: the constant rate, as a factor on the peak learning rate.
        warmup: fraction of the stage with a linear warm-up.
        tasks: stages in which the method acts: `all`, `first` or `later`.

    If `ratio` equals the floor of the schedule before it, training goes on at the rate at which that schedule ended. In
    the paper this setting forgets least and learns least. No other schedule is needed beside it.
    """

    shardable: ClassVar[bool] = True

    ratio: float = 1.0
    warmup: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_fraction("warmup", self.warmup)
        if self.ratio < 0:
            raise UserError(f"ratio: {self.ratio} is negative; give a factor on the peak learning rate such as 0.1")

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Warn about ratio 0, which trains nothing."""
        return ["ratio 0 leaves the model as it is"] if self.ratio == 0 else []

    def schedule(self, at: Progress) -> float:
        """Return the factor: a linear warm-up, then `ratio`."""
        return lr_schedules.constant(at.step, Phases.cumulative(at.total, warmup=self.warmup), eta_max=self.ratio)


@dataclass(eq=False)
class RewarmCosine(InSomeTasks, Trains):
    """Warm up to the peak learning rate, then decay along half a cosine, in each stage anew.

    Args:
        warmup: fraction of the stage with a linear warm-up. The paper's value is 0.01.
        floor: rate at the end of the stage, as a fraction of this stage's peak. The paper's value is 0.1.
        peak: factor on `train.lr`, for stages that re-warm to another peak than the first stage.
        tasks: stages in which the method acts: `all`, `first` or `later`.

    In the paper, warm-ups of 0 to 2 % of the stage end alike; 0 has a spike at the start.
    """

    shardable: ClassVar[bool] = True

    warmup: float = 0.01
    floor: float = 0.1
    peak: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.peak <= 0:
            raise UserError(f"peak: {self.peak} must be positive; give a factor on the peak learning rate such as 0.5")
        require_fraction("warmup", self.warmup)
        require_fraction("floor", self.floor)

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Warn about a floor at the peak, which is no decay."""
        return ["floor 1 never decays, equivalent to constant"] if self.floor == 1 else []

    def schedule(self, at: Progress) -> float:
        """Return the factor of 2403.08763 Eq. 1-2 with eta_max = peak and eta_min = peak * floor."""
        phases = Phases.cumulative(at.total, warmup=self.warmup)
        return lr_schedules.rewarm_cosine(at.step, phases, eta_max=self.peak, eta_min=self.peak * self.floor)


def require_fraction(key: str, value: float) -> None:
    """Raise UserError, naming the setting `key`, unless `value` is in [0, 1]."""
    if not 0 <= value <= 1:
        raise UserError(f"{key}: {value} is not a fraction; give a number from 0 to 1")
