"""Synaptic intelligence: hold parameters near their old values in proportion to how much they lowered the loss.

Zenke et al. 2017, arXiv 1703.04200, equations 3 to 5. Along the path of a task's training, from theta_0 to theta_T:

    omega_k = - integral g_k d theta_k  ~  sum over steps of  g_k (theta_k before - theta_k after)
    Omega_k <- Omega_k + max(0, omega_k / ((theta_T,k - theta_0,k)^2 + xi))
    L = task loss + weight * sum_k Omega_k (theta_k - theta*_k)^2
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from cl.errors import UserError
from cl.methods.method import Learned, Step
from strategies.penalties.base import Anchored, trained

if TYPE_CHECKING:
    from torch import Tensor


def path_importance(path: Tensor, moved: Tensor, damping: float) -> Tensor:
    """max(0, omega / (moved^2 + xi)), element by element."""
    return (path / (moved.square() + damping)).clamp(min=0)


@dataclass(eq=False)
class SI(Anchored):
    """Hold parameters near earlier optima; importance is each parameter's part in the decrease of the loss.

    Args:
        weight: coefficient of the penalty, the paper's c.
        damping: the paper's xi, above 0.

    Importance is measured while training, so it needs no pass over the data. The gradient along the path is that of the
    task loss and of other methods' terms; the gradient of this method's own penalty is subtracted. It is the gradient
    before clipping, while the step is the actual one. So with momentum and AdamW the sum is not the decrease of the
    loss, a known weakness of the method. Needs parameters that continue from task to task: full fine-tuning, or `lora`
    with life `continue`.

    Public code differs: the authors' (pathint) takes the max of the sum over tasks, ours sums the max of each task, as
    A-GEM's code does; mammoth leaves out the max; Avalanche multiplies by 1/2 and clips at 0.001.
    State inside a stage: 4 copies of the trained parameters.

    Keeps between tasks: 2 copies of the trained parameters.
    """

    memory_settings: ClassVar[tuple[str, ...]] = ("damping",)
    name, factor = "si", 1.0

    weight: float = 0.5
    damping: float = 1e-3

    state: dict[str, Tensor] = field(init=False, repr=False, default_factory=dict)
    """By `path/NAME`, `start/NAME`, `gradient/NAME` and `before/NAME`; the last two are of the newest step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.damping <= 0:
            raise UserError(f"damping: {self.damping} must be above 0, or a parameter that did not move divides by it")

    def active(self, t: int) -> bool:
        """Act in the first task as well: later tasks are held by its path."""
        return self.weight > 0

    def prepare(self, model: Any, t: int) -> Any:
        """Start a path, and pair parameters with their remembered importance and optimum."""
        import torch

        super().prepare(model, t)
        for name, value in trained(model).items():
            self.state |= {f"path/{name}": torch.zeros_like(value), f"start/{name}": value.detach().clone()}
        return model

    def after_backward(self, at: Step) -> None:
        """Add the previous step, whose end is now known, to the path, and record the start of this step."""
        import torch

        from cl.models import sharding

        pulls = {
            id(theta): 2 * self.weight * held * (theta.detach() - anchor)
            for theta, anchor, held in self.terms(at.model)
        }
        parameters = trained(at.model)
        self.state = {key: sharding.like(value, parameters[key.partition("/")[2]]) for key, value in self.state.items()}
        for name, theta in parameters.items():
            gradient = torch.zeros_like(theta) if theta.grad is None else theta.grad
            _advance(self.state, name, theta.detach())
            self.state[f"gradient/{name}"] = gradient - pulls.get(id(theta), 0.0)
            self.state[f"before/{name}"] = theta.detach().clone()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the path, its start, and the gradient and start of the newest step."""
        return dict(self.state)

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Load what `state_dict` returned."""
        self.state = {key: value.clone() for key, value in tensors.items()}

    def importance(self, learned: Learned, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the importance of the path that just ended.

        Raises:
            UserError: if no path was recorded.
        """
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
