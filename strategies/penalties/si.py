"""Synaptic intelligence: hold parameters where they were, the stronger the more they lowered the loss while learning.

Zenke et al. 2017, arXiv 1703.04200, equations 3 to 5. Along the path of a task's training, from theta_0 to theta_T:

    omega_k = - integral g_k d theta_k  ~  sum over steps of  g_k (theta_k before - theta_k after)
    Omega_k <- Omega_k + max(0, omega_k / ((theta_T,k - theta_0,k)^2 + xi))
    L = task loss + weight * sum_k Omega_k (theta_k - theta*_k)^2
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from cl.errors import UserError
from cl.methods.method import Learned, Step
from strategies.penalties.base import Anchored


def path_importance(path: Tensor, moved: Tensor, damping: float) -> Tensor:
    """max(0, omega / (moved^2 + xi)), element by element."""
    return (path / (moved.square() + damping)).clamp(min=0)


class SI(Anchored):
    """Importance is the part of the loss's fall that each parameter brought about; it needs no data pass of its own.

    weight: the paper's c; damping: xi. The gradient in the path is that of the task loss (and other methods' terms):
    our own penalty's is taken out again. It is the gradient before clipping, and the step is the one really taken, so
    with momentum and AdamW the sum is not the fall of the loss, a known weakness of the method.
    Public code differs: mammoth leaves out the max, Avalanche multiplies by 1/2 and clips at 0.001.
    State inside a stage: 4 copies of the trained parameters. Keeps between tasks: 2.
    """

    memory_settings: ClassVar[tuple[str, ...]] = ("damping",)
    name, factor = "si", 1.0

    def __init__(self, weight: float = 0.5, damping: float = 1e-3) -> None:
        super().__init__(weight, "online", 1.0, 0)
        if damping <= 0:
            raise UserError(f"damping: {damping} must be above 0, or a parameter that did not move divides by it")
        self.damping = damping
        self.state: dict[str, Tensor] = {}

    def active(self, t: int) -> bool:
        """In the first task as well: its path is what later ones are held by."""
        return self.weight > 0

    def prepare(self, model: Any, t: int) -> Any:
        """Begin a path, and pair parameters with what is remembered of them."""
        super().prepare(model, t)
        self.parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
        for name, value in self.parameters.items():
            self.state |= {f"path/{name}": torch.zeros_like(value), f"start/{name}": value.detach().clone()}
        return model

    def after_backward(self, at: Step) -> None:
        """Add the step before to the path, now that its end is known, and remember this one's beginning."""
        pulls = {id(theta): 2 * self.weight * held * (theta.detach() - anchor) for theta, anchor, held in self.terms}
        for name, theta in self.parameters.items():
            assert theta.grad is not None
            _advance(self.state, name, theta.detach())
            self.state[f"gradient/{name}"] = theta.grad - pulls.get(id(theta), 0.0)
            self.state[f"before/{name}"] = theta.detach().clone()

    def tensors(self) -> dict[str, Tensor]:
        """The path so far, its start, and the newest step's gradient and beginning."""
        return dict(self.state)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Inverse of `tensors`."""
        self.state = {key: value.clone() for key, value in tensors.items()}

    def importance(self, learned: Learned, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Importance of the path that just ended. Raises UserError where none was recorded."""
        state = {key: value.clone() for key, value in learned.tensors.items()}
        if not state:
            raise UserError("si: recorded no path in the task before; let it act in every task")
        found = {}
        for name, theta in parameters.items():
            _advance(state, name, theta.detach().cpu())
            moved = theta.detach().cpu() - state[f"start/{name}"]
            found[name] = path_importance(state[f"path/{name}"], moved, self.damping)
        return found


def _advance(state: dict[str, Tensor], name: str, theta: Tensor) -> None:
    """Add g (theta before - theta after) of the step that ended in `theta`."""
    if f"gradient/{name}" in state:
        state[f"path/{name}"] += state[f"gradient/{name}"] * (state[f"before/{name}"] - theta)
