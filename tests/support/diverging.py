"""Methods of a user's own that diverge or break."""

from __future__ import annotations

from dataclasses import dataclass

from cl.methods.method import Step, Trains


@dataclass(eq=False)
class Wild(Trains):
    """Makes all gradients infinite in one step of each stage.

    Args:
        step: the step, counted from 1.
    """

    step: int = 5

    def after_backward(self, at: Step) -> None:
        for parameter in at.model.parameters():
            if at.step + 1 == self.step:
                parameter.grad.fill_(float("inf"))


@dataclass(eq=False)
class Defect(Trains):
    """Divides by zero in the first step of each stage."""

    def after_backward(self, at: Step) -> None:
        _ = 1 / at.step
