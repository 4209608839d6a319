"""Joint training: all tasks at once, the union baseline of 2403.08763. No stream, so no forgetting by order."""

from __future__ import annotations

from dataclasses import replace

from cl.errors import UserError
from cl.methods.method import Method, Stage


class Joint(Method):
    """Learn the union of all tasks in one stage of the tasks' summed tokens, from the base model.

    Shares follow the tasks' budgets; `equal` gives every task the same share, as the paper does (50:50).
    Only the last row of R exists. From a pretrained model the union is that of the tasks still to learn.
    A schedule for the stage stands beside it in the strategy.
    """

    def __init__(self, equal: bool = False) -> None:
        super().__init__()
        self.equal = equal

    def active(self, t: int) -> bool:
        """Never: it changes the stream, and inside a stage nothing."""
        return False

    def stages(self, stages: list[Stage]) -> list[Stage]:
        """One stage with t of the first and the row of the last. Raises UserError for a stream that is split."""
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
