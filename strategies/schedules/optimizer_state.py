"""Reset or keep Adam's moments between tasks, as an explicit policy.

2403.08763 resets the optimizer at each data set. Whether it also does so under its infinite schedules is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cl.errors import UserError
from cl.methods.method import InSomeTasks, Method, PlansStages


@dataclass(eq=False)
class OptimizerState(InSomeTasks, PlansStages):
    """Start each stage with a fresh optimizer or with the optimizer state of its parent stage.

    Args:
        policy: `reset`: a fresh optimizer, as without this method; `keep`: the parent's state.
        tasks: stages in which the method acts: `all`, `first` or `later`.

    Keeps between tasks: with `keep` the optimizer state of the last task.
    """

    policy: Literal["reset", "keep"] = "reset"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.policy not in ("reset", "keep"):
            raise UserError(f"policy: {self.policy!r} is not one of reset, keep")

    def active(self, t: int) -> bool:
        """Act only if there is a state to keep."""
        return t > 1 and self.policy == "keep" and super().active(t)

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Warn about settings that change nothing."""
        if self.policy == "reset" or self.tasks == "first":
            return ["without effect, the optimizer is reset anyway; use policy keep on later tasks"]
        return []

    def carries_optimizer(self) -> bool:
        """Carry the optimizer state under `keep`."""
        return self.policy == "keep"
