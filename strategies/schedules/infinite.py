r"""Schedules without a fixed end: a trunk at a constant rate, and an annealed fork for each task.

    trunk 1 ---------> trunk 2 ---------> trunk 3        the stream goes on from the constant rate
        \-- anneal 1       \-- anneal 2       \-- anneal 3   row t of R evaluates the annealed state

The next task continues from the *trunk*, never from an annealed state, so nothing is re-warmed. Stage t is split at
`constant_end`: the fork trains the rest of the same stage, and the trunk never sees the tokens of that rest.

Sources: infinite schedules 2403.08763, with shapes and phase ends from its authors' configurations; tasks after the
first only hold the constant rate and anneal, as in 2503.02844; WSD 2404.06395; 1-sqrt decay 2405.18392.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from cl.errors import UserError
from cl.methods import lr_schedules
from cl.methods.lr_schedules import DECAYS, Decay, Phases
from cl.methods.method import InSomeTasks, Method, PlansStages, Progress, Stage, Trains
from strategies.schedules.rewarm import require_fraction


@dataclass(eq=False)
class _Infinite(InSomeTasks, PlansStages, Trains, ABC):
    """Split each stage into a trunk and a fork, and schedule both.

    Args:
        first: t of the stage that warms up and cools down; the other stages start at the constant rate.
    """

    name: ClassVar[str]
    shardable: ClassVar[bool] = True

    first: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, end in self.ends.items():
            require_fraction(key, end)
        warmup, cooldown_end, constant_end = self.ends.values()
        if not warmup <= cooldown_end <= constant_end or constant_end == 0:
            ends = f"{warmup}, {cooldown_end}, {constant_end}"
            raise UserError(f"warmup, cooldown_end, constant_end: {ends} must ascend: they are cumulative phase ends")

    @property
    @abstractmethod
    def ends(self) -> dict[str, float]:
        """Cumulative ends of the phases `warmup`, `cooldown_end`, `constant_end`, as fractions of the stage."""

    @abstractmethod
    def _factor(self, step: int, phases: Phases) -> float:
        """The schedule as a pure function with eta_max = 1."""

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Warn about a constant phase up to the end, which leaves nothing to anneal."""
        return ["constant_end 1 never anneals"] if self.ends["constant_end"] == 1 else []

    def stages(self, stages: list[Stage]) -> list[Stage]:
        """Split each stage t into a trunk and, if there is something to anneal, a fork that fills row t.

        A later stage of this method continues from the trunk, a stage of another schedule from the annealed state.

        Raises:
            UserError: if `first` does not fit the stream, or another method has split a stage already.
        """
        out: list[Stage] = []
        trunk: dict[int, int] = {}  # index in `stages` -> in `out`
        end: dict[int, int] = {}
        for index, stage in enumerate(stages):
            parent = stage.parent
            if not self.active(stage.t):
                out.append(replace(stage, parent=None if parent is None else end[parent]))
                trunk[index] = end[index] = len(out) - 1
                continue
            self._check(stage)
            source = None if parent is None else trunk[parent]
            trunk[index] = len(out)
            out += self._split(replace(stage, parent=source), index=len(out))
            end[index] = len(out) - 1
        return out

    def schedule(self, at: Progress) -> float:
        """Return the factor at this step; warm-up and cool-down have length 0 unless t = `first`."""
        skipped = {} if at.t == self.first else {"warmup": 0.0, "cooldown_end": 0.0}
        return self._factor(at.step, Phases.cumulative(at.total, **(self.ends | skipped)))

    def _check(self, stage: Stage) -> None:
        if (stage.start, stage.stop, stage.continues) != (0.0, 1.0, False):
            raise UserError(f"{self.name}: stage {stage.name!r} is already split; use one infinite schedule per task")
        if stage.parent is None and stage.t != self.first:
            raise UserError(
                f"{self.name}: first: {self.first}, but stage {stage.name!r} starts from the base model at t = "
                f"{stage.t}; set first: {stage.t} so that it warms up"
            )

    def _split(self, stage: Stage, index: int) -> list[Stage]:
        constant_end = self.ends["constant_end"]
        if constant_end == 1:
            return [stage]
        trunk = replace(stage, name=f"{stage.name} trunk", stop=constant_end, row=None)
        fork = replace(stage, name=f"{stage.name} anneal", start=constant_end, parent=index, continues=True)
        return [trunk, fork]


@dataclass(eq=False)
class InfCosine(_Infinite):
    """Warm up, cool down to `const` along half a cosine, hold, and anneal exponentially to `floor` (2403.08763).

    Args:
        warmup: end of the warm-up, as a cumulative fraction of the stage.
        cooldown_end: end of the cool-down, as a cumulative fraction of the stage.
        constant_end: end of the constant phase, as a cumulative fraction of the stage; there the fork starts.
        const: constant rate, as a factor on the peak learning rate.
        floor: rate at the end of the annealing, as a factor on the peak learning rate.
        first: t of the first stage that is trained; 2 if a pretrained model already knows task 1.
        tasks: stages in which the method acts: `all`, `first` or `later`.

    The defaults are the paper's at 405M parameters: eta 3e-4, 1.65e-4 and 3e-5. Whether the paper resets the optimizer
    between stages is not known: choose explicitly with `optimizer_state`.

    Keeps between tasks: the trunk at the constant rate.
    """

    name = "inf_cosine"

    warmup: float = 0.01
    cooldown_end: float = 0.60
    constant_end: float = 0.85
    const: float = 0.55
    floor: float = 0.1

    def __post_init__(self) -> None:
        require_fraction("floor", self.floor)
        super().__post_init__()
        require_fraction("const", self.const)
        if not 0 < self.floor <= self.const:
            allowed = f"above 0 and at most const {self.const}"
            raise UserError(f"floor: {self.floor} must be {allowed}: annealing is exponential")

    @property
    def ends(self) -> dict[str, float]:
        """The settings of the same names."""
        return {"warmup": self.warmup, "cooldown_end": self.cooldown_end, "constant_end": self.constant_end}

    def _factor(self, step: int, phases: Phases) -> float:
        return lr_schedules.inf_cosine(step, phases, eta_max=1.0, eta_const=self.const, eta_min=self.floor)


@dataclass(eq=False)
class InfInvsqrt(InfCosine):
    """Schedule as `InfCosine` does, with a cool-down along an inverse square root.

    Args:
        warmup: end of the warm-up, as a cumulative fraction of the stage.
        cooldown_end: end of the cool-down, as a cumulative fraction of the stage.
        constant_end: end of the constant phase, as a cumulative fraction of the stage; there the fork starts.
        const: constant rate, as a factor on the peak learning rate.
        floor: rate at the end of the annealing, as a factor on the peak learning rate.
        alpha: steepness of the inverse square root. The paper's value is 10.
        first: t of the first stage that is trained; 2 if a pretrained model already knows task 1.
        tasks: stages in which the method acts: `all`, `first` or `later`.

    Keeps between tasks: the trunk at the constant rate.
    """

    name = "inf_invsqrt"

    alpha: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha <= 0:
            raise UserError(f"alpha: {self.alpha} must be above 0; the paper's is 10")

    def _factor(self, step: int, phases: Phases) -> float:
        eta = {"eta_max": 1.0, "eta_const": self.const, "eta_min": self.floor}
        return lr_schedules.inf_invsqrt(step, phases, **eta, alpha=self.alpha)


@dataclass(eq=False)
class WSD(_Infinite):
    """Warm up, hold the peak, and decay to `floor` on the fork: warmup-stable-decay.

    Args:
        warmup: end of the warm-up, as a fraction of the stage.
        constant_end: end of the constant phase, as a cumulative fraction of the stage; there the fork starts.
        floor: rate at the end of the decay, as a factor on the peak learning rate.
        decay: `1-sqrt` (2405.18392, to 0), `linear`, or `exponential`, which needs a floor above 0 (2404.06395).
        first: t of the first stage that is trained; 2 if a pretrained model already knows task 1.
        tasks: stages in which the method acts: `all`, `first` or `later`.

    Keeps between tasks: the trunk at the constant rate.
    """

    name = "wsd"

    warmup: float = 0.01
    constant_end: float = 0.9
    floor: float = 0.0
    decay: Decay = "1-sqrt"

    def __post_init__(self) -> None:
        require_fraction("floor", self.floor)
        super().__post_init__()
        if self.decay not in DECAYS:
            raise UserError(f"decay: {self.decay!r} is not one of {', '.join(DECAYS)}")
        if self.decay == "exponential" and self.floor == 0:
            raise UserError("floor: 0 cannot be reached exponentially; give a floor above 0 or another decay")

    @property
    def ends(self) -> dict[str, float]:
        """The settings of the same names; there is no cool-down."""
        return {"warmup": self.warmup, "cooldown_end": self.warmup, "constant_end": self.constant_end}

    def _factor(self, step: int, phases: Phases) -> float:
        return lr_schedules.wsd(step, phases, eta_max=1.0, eta_min=self.floor, decay=self.decay)
