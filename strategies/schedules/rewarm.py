"""Learning-rate schedules that start anew in each stage.

The hook returns the factor on the peak learning rate, so a schedule is the pure function of `cl.methods.lr_schedules`
with eta_max = 1. Re-warming and re-decaying: Ibrahim et al. 2024, arXiv 2403.08763, Eq. 1-2.
"""

from __future__ import annotations

from cl.errors import UserError
from cl.methods import lr_schedules
from cl.methods.lr_schedules import Phases
from cl.methods.method import Method, Progress, Tasks


class Constant(Method):
    """A constant rate: `ratio` times the peak, after a linear warm-up over the fraction `warmup` of the stage.

    With ratio = floor of the schedule before it, this goes on at the rate where that one ended: in the paper
    the setting that forgets least and learns least. Nothing else is needed beside it.
    """

    def __init__(self, ratio: float = 1.0, warmup: float = 0.0, tasks: Tasks = "all") -> None:
        super().__init__(tasks)
        self.ratio = ratio
        self.warmup = require_fraction("warmup", warmup)
        if ratio < 0:
            raise UserError(f"ratio: {ratio} is negative; give a factor on the peak learning rate such as 0.1")

    def warnings(self) -> list[str]:
        """Ratio 0 trains nothing."""
        return ["ratio 0 leaves the model as it is"] if self.ratio == 0 else []

    def schedule(self, at: Progress) -> float:
        """Warm up, then `ratio`."""
        return lr_schedules.constant(at.step, Phases.cumulative(at.total, warmup=self.warmup), eta_max=self.ratio)


class RewarmCosine(Method):
    """Warm up to the peak over the fraction `warmup` of the stage, then decay to `floor` along half a cosine.

    Each stage re-warms and re-decays. warmup 0.01 and floor 0.1 are the paper's; 0 to 2 % of warm-up end
    alike there, 0 with a spike at first. peak: factor on `train.lr`, for stages that re-warm to another
    height than the first; the floor is a fraction of this peak.
    """

    def __init__(self, warmup: float = 0.01, floor: float = 0.1, peak: float = 1.0, tasks: Tasks = "all") -> None:
        super().__init__(tasks)
        if peak <= 0:
            raise UserError(f"peak: {peak} must be positive; give a factor on the peak learning rate such as 0.5")
        self.peak = peak
        self.warmup = require_fraction("warmup", warmup)
        self.floor = require_fraction("floor", floor)

    def warnings(self) -> list[str]:
        """A floor at the peak is no decay."""
        return ["floor 1 never decays, equivalent to constant"] if self.floor == 1 else []

    def schedule(self, at: Progress) -> float:
        """2403.08763 Eq. 1-2 with eta_max = peak and eta_min = peak * floor."""
        phases = Phases.cumulative(at.total, warmup=self.warmup)
        return lr_schedules.rewarm_cosine(at.step, phases, eta_max=self.peak, eta_min=self.peak * self.floor)


def require_fraction(key: str, value: float) -> float:
    """Return `value`; raises UserError, naming the setting `key`, unless it is in [0, 1]."""
    if not 0 <= value <= 1:
        raise UserError(f"{key}: {value} is not a fraction; give a number from 0 to 1")
    return value
