r"""Schedules without a fixed end: a trunk at a constant rate, and an annealed fork for each task.

    trunk 1 ---------> trunk 2 ---------> trunk 3        the stream goes on from the constant rate
        \-- anneal 1       \-- anneal 2       \-- anneal 3   row t of R is the annealed state's

The next task continues from the *trunk*, never from an annealed state, so nothing is re-warmed. Stage t is
split at `constant_end`: the fork trains the rest of the same stage, whose tokens the trunk never sees.

Sources: infinite schedules 2403.08763, shapes and phase ends from its authors' configurations; tasks after
the first run constant and anneal only, as in 2503.02844; WSD 2404.06395; 1-sqrt decay 2405.18392.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

from cl.errors import UserError
from cl.methods import lr_schedules
from cl.methods.lr_schedules import DECAYS, Decay, Phases
from cl.methods.method import Method, Progress, Stage, Tasks
from strategies.schedules.rewarm import require_fraction


class _Infinite(Method):
    """Trunk and forks. `first`: the t that warms up and cools down; others start at the constant rate."""

    name: str

    def __init__(
        self, warmup: float, cooldown_end: float, constant_end: float, floor: float, first: int, tasks: Tasks
    ) -> None:
        super().__init__(tasks)
        self.warmup = require_fraction("warmup", warmup)
        self.cooldown_end = require_fraction("cooldown_end", cooldown_end)
        self.constant_end = require_fraction("constant_end", constant_end)
        self.floor = require_fraction("floor", floor)
        self.first = first
        if not warmup <= cooldown_end <= constant_end or constant_end == 0:
            ends = f"{warmup}, {cooldown_end}, {constant_end}"
            raise UserError(f"warmup, cooldown_end, constant_end: {ends} must ascend: they are cumulative phase ends")

    def warnings(self) -> list[str]:
        """A constant phase up to the end leaves nothing to anneal."""
        return ["constant_end 1 never anneals"] if self.constant_end == 1 else []

    def stages(self, stages: list[Stage]) -> list[Stage]:
        """Split each stage t into a trunk and, where there is something to anneal, a fork that fills row t.

        A later stage of this method goes on from the trunk; one of another schedule from the annealed state.
        Raises UserError where `first` does not fit the stream, or another method has split it already.
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
        """The factor at this step; warm-up and cool-down have length 0 unless t = `first`."""
        whole = at.t == self.first
        warmup, cooldown_end = (self.warmup, self.cooldown_end) if whole else (0.0, 0.0)
        ends = {"warmup": warmup, "cooldown_end": cooldown_end, "constant_end": self.constant_end}
        return self._factor(at.step, Phases.cumulative(at.total, **ends))

    @abstractmethod
    def _factor(self, step: int, phases: Phases) -> float:
        """The pure function with eta_max = 1."""

    def _check(self, stage: Stage) -> None:
        if (stage.start, stage.stop, stage.continues) != (0.0, 1.0, False):
            raise UserError(f"{self.name}: stage {stage.name!r} is already split; use one infinite schedule per task")
        if stage.parent is None and stage.t != self.first:
            raise UserError(
                f"{self.name}: first: {self.first}, but stage {stage.name!r} starts from the base model at t = "
                f"{stage.t}; set first: {stage.t} so that it warms up"
            )

    def _split(self, stage: Stage, index: int) -> list[Stage]:
        if self.constant_end == 1:
            return [stage]
        trunk = replace(stage, name=f"{stage.name} trunk", stop=self.constant_end, row=None)
        fork = replace(stage, name=f"{stage.name} anneal", start=self.constant_end, parent=index, continues=True)
        return [trunk, fork]


class InfCosine(_Infinite):
    """Warm up, cool down to `const` along half a cosine, hold, anneal exponentially to `floor` (2403.08763).

    Defaults are the paper's at 405M: eta 3e-4, 1.65e-4, 3e-5. Phase ends are cumulative fractions of the
    stage. first: t of the first stage that is trained (2 where a pretrained model knows task 1). Whether the
    paper resets the optimizer between stages is not known: say it with `optimizer_state`.
    """

    name = "inf_cosine"

    def __init__(
        self,
        warmup: float = 0.01,
        cooldown_end: float = 0.60,
        constant_end: float = 0.85,
        const: float = 0.55,
        floor: float = 0.1,
        first: int = 1,
        tasks: Tasks = "all",
    ) -> None:
        super().__init__(warmup, cooldown_end, constant_end, floor, first, tasks)
        self.const = require_fraction("const", const)
        if not 0 < floor <= const:
            raise UserError(f"floor: {floor} must be above 0 and at most const {const}: annealing is exponential")

    def _factor(self, step: int, phases: Phases) -> float:
        return lr_schedules.inf_cosine(step, phases, eta_max=1.0, eta_const=self.const, eta_min=self.floor)


class InfInvsqrt(InfCosine):
    """As `InfCosine`, with the cool-down along an inverse square root of steepness `alpha` (10 in the paper)."""

    name = "inf_invsqrt"

    def __init__(
        self,
        warmup: float = 0.01,
        cooldown_end: float = 0.60,
        constant_end: float = 0.85,
        const: float = 0.55,
        floor: float = 0.1,
        alpha: float = 10.0,
        first: int = 1,
        tasks: Tasks = "all",
    ) -> None:
        super().__init__(warmup, cooldown_end, constant_end, const, floor, first, tasks)
        self.alpha = alpha
        if alpha <= 0:
            raise UserError(f"alpha: {alpha} must be above 0; the paper's is 10")

    def _factor(self, step: int, phases: Phases) -> float:
        eta = {"eta_max": 1.0, "eta_const": self.const, "eta_min": self.floor}
        return lr_schedules.inf_invsqrt(step, phases, **eta, alpha=self.alpha)


class WSD(_Infinite):
    """Warm up, hold the peak, decay to `floor` on the fork: warmup-stable-decay.

    decay: `1-sqrt` (2405.18392, to 0), `linear`, or `exponential`, which needs a floor above 0 (2404.06395).
    """

    name = "wsd"

    def __init__(
        self,
        warmup: float = 0.01,
        constant_end: float = 0.9,
        floor: float = 0.0,
        decay: Decay = "1-sqrt",
        first: int = 1,
        tasks: Tasks = "all",
    ) -> None:
        super().__init__(warmup, warmup, constant_end, floor, first, tasks)
        self.decay = decay
        if decay not in DECAYS:
            raise UserError(f"decay: {decay!r} is not one of {', '.join(DECAYS)}")
        if decay == "exponential" and floor == 0:
            raise UserError("floor: 0 cannot be reached exponentially; give a floor above 0 or another decay")

    def _factor(self, step: int, phases: Phases) -> float:
        return lr_schedules.wsd(step, phases, eta_max=1.0, eta_min=self.floor, decay=self.decay)
