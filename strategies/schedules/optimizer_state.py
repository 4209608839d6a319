"""Whether Adam's moments go from one task to the next: a named policy, not an accident.

2403.08763 resets the optimizer at each data set; whether its infinite schedules do is not known.
"""

from __future__ import annotations

from typing import Literal

from cl.errors import UserError
from cl.methods.method import Method, Tasks


class OptimizerState(Method):
    """`reset`: each stage starts with a fresh optimizer, as without this method; `keep`: with its parent's."""

    def __init__(self, policy: Literal["reset", "keep"] = "reset", tasks: Tasks = "all") -> None:
        super().__init__(tasks)
        self.policy = policy
        if policy not in ("reset", "keep"):
            raise UserError(f"policy: {policy!r} is not one of reset, keep")

    def active(self, t: int) -> bool:
        """Only where there is a state to keep."""
        return t > 1 and self.policy == "keep" and super().active(t)

    def warnings(self) -> list[str]:
        """Settings that change nothing."""
        if self.policy == "reset" or self.tasks == "first":
            return ["without effect, the optimizer is reset anyway; use policy keep on later tasks"]
        return []

    def keep_optimizer(self) -> bool:
        """True under `keep`."""
        return self.policy == "keep"
