"""Each task alone from the base model, without the earlier tasks (2403.08763, "from scratch")."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cl.methods.method import PlansStages, Stage


@dataclass(eq=False)
class Scratch(PlansStages):
    """Start every stage from the base model, so that row t of R evaluates a model that learned task t only.

    The diagonal of R holds the scores of tasks that are learned alone. Forgetting and backward transfer of its rows are
    meaningless, since no state follows another. The strategy needs a schedule beside this method.

    Keeps between tasks: nothing.
    """

    def active(self, t: int) -> bool:
        """Never act inside a stage: the method only changes the stream."""
        return False

    def stages(self, stages: list[Stage]) -> list[Stage]:
        """Cut every stage off from its parent, except a fork from its own trunk."""
        return [stage if stage.continues else replace(stage, parent=None) for stage in stages]
