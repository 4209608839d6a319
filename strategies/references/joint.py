"""Joint training: all tasks at once, the union baseline of 2403.08763. Without a stream, order causes no forgetting."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cl.errors import UserError
from cl.methods.method import PlansStages, Stage


@dataclass(eq=False)
class Joint(PlansStages):
    """Learn the union of all tasks in one stage of the tasks' summed tokens, from the base model.

    Args:
        equal: give every task the same share, as the paper does (50:50). Otherwise shares follow the tasks' budgets.

    R has its last row only. From a pretrained model the union consists of the tasks that are still to be learned.
    The strategy needs a schedule beside this method.

    Keeps between tasks: nothing; there is one stage.
    """

    equal: bool = False

    def active(self, t: int) -> bool:
        """Never act inside a stage: the method only changes the stream."""
        return False

    def stages(self, stages: list[Stage]) -> list[Stage]:
        """Return one stage with the t of the first stage and the row of the last one.

        Raises:
            UserError: if another method has split a stage.
        """
        if any(stage.continues or (stage.start, stage.stop) != (0.0, 1.0) for stage in stages):
            raise UserError("joint: cannot follow a method that splits stages; put it first in the list")
        total = sum(stage.total for stage in stages)
        shares: dict[str, float] = {}
        for stage in stages:
            for task, share in stage.tasks.items():
                shares[task] = shares.get(task, 0.0) + share * stage.total / total
        if self.equal:
            shares = dict.fromkeys(shares, 1 / len(shares))
        return [replace(stages[0], name="joint", tasks=shares, total=total, parent=None, row=stages[-1].row)]
