"""What EWC and MAS have in common: a quadratic pull to earlier optima, weighted by how much each parameter mattered.

    penalty = weight * factor * sum over kept tasks of  sum_k importance_k (theta_k - theta*_k)^2

`online` keeps one importance, I <- gamma I + I_t, and the newest optimum; `offline` keeps both for every task.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from cl.errors import UserError
from cl.methods.method import Learned, Method, Step

if TYPE_CHECKING:
    from cl.data.batches import Batch

Mode = Literal["online", "offline"]


def quadratic(theta: Tensor, anchor: Tensor, importance: Tensor) -> Tensor:
    """sum_k I_k (theta_k - theta*_k)^2."""
    return (importance * (theta - anchor).square()).sum()


class Anchored(Method, ABC):
    """Hold trained parameters near earlier optima; a subclass says how much each one mattered.

    weight: coefficient of the penalty; gamma: decay of the older importance (online only); examples: rows of the task
    from which importance is estimated, 0 = all. Needs parameters that live on from task to task: full fine-tuning, or
    `lora` with life `continue`; on fresh adapters an earlier optimum means nothing.
    Keeps between tasks: 2 copies of the trained parameters (online), 2 per task (offline).
    """

    memory_settings: ClassVar[tuple[str, ...]] = ("mode", "gamma", "examples")
    name: ClassVar[str]
    factor: ClassVar[float]

    def __init__(self, weight: float, mode: Mode, gamma: float, examples: int) -> None:
        super().__init__()
        if weight < 0 or not 0 <= gamma <= 1 or examples < 0:
            raise UserError(f"weight {weight} and examples {examples} must be at least 0, gamma {gamma} in [0, 1]")
        self.weight, self.mode, self.gamma, self.examples = weight, mode, gamma, examples
        self.memory: dict[str, Tensor] = {}

    @abstractmethod
    def importance(self, learned: Learned, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """How much each parameter mattered to the task just learned, by name."""

    def active(self, t: int) -> bool:
        """Not at t = 1, where there is nothing to hold, and not with weight 0."""
        return t > 1 and self.weight > 0

    def warnings(self) -> list[str]:
        """Settings under which nothing is held."""
        return ["weight 0 is equivalent to plain fine-tuning"] if self.weight == 0 else []

    def remember(self, memory: Mapping[str, Tensor]) -> None:
        """Take importance and optimum by parameter."""
        self.memory = dict(memory)

    def prepare(self, model: Any, t: int) -> Any:
        """Pair parameters with what is remembered of them. Raises UserError where their names do not meet.

        A stage that starts from the base model (`scratch`) follows no other, and nothing is held.
        """
        self.terms: list[tuple[Tensor, Tensor, Tensor]] = []
        if not self.memory:
            return model
        parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
        held = {key: value for key, value in self.memory.items() if key.startswith("importance")}
        if {key.partition("/")[2] for key in held} != parameters.keys():
            remedy = "use full fine-tuning or lora with life continue"
            raise UserError(f"{self.name}: trains other parameters than the task before; {remedy}")
        self.terms = [
            (parameters[key.partition("/")[2]], self.memory[key.replace("importance", "optimum", 1)], value)
            for key, value in held.items()
        ]
        return model

    def step_terms(self, at: Step) -> dict[str, Tensor]:
        """The penalty, where anything is held."""
        if not self.terms:
            return {}
        device = at.model.device
        self.terms = [(theta, anchor.to(device), held.to(device)) for theta, anchor, held in self.terms]
        return {self.name: self.weight * self.factor * torch.stack([quadratic(*term) for term in self.terms]).sum()}

    def consolidate(self, learned: Learned) -> dict[str, Tensor]:
        """Importance and optimum after the task, together with the earlier ones as `mode` says."""
        parameters = {name: value for name, value in learned.model.named_parameters() if value.requires_grad}
        found = self.importance(learned, parameters)
        which = f".{learned.t}" if self.mode == "offline" else ".all"
        for name, value in found.items():
            if self.mode == "online" and f"importance.all/{name}" in learned.memory:
                value += self.gamma * learned.memory[f"importance.all/{name}"].to(value.device)
        kept = dict(learned.memory) if self.mode == "offline" else {}
        kept |= {f"importance{which}/{name}": value for name, value in found.items()}
        return kept | {f"optimum{which}/{name}": value.detach().clone() for name, value in parameters.items()}


def mean_over_rows(
    learned: Learned,
    examples: int,
    value: Callable[[Batch], Tensor],
    size: Callable[[Tensor], Tensor],
    parameters: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Mean over at most `examples` single rows (0: all) of `size` of the gradient of `value(row)`, by parameter."""
    total = {name: torch.zeros_like(value) for name, value in parameters.items()}
    count = 0
    for batch in learned.batches(1):
        gradients = torch.autograd.grad(value(batch), list(parameters.values()))
        for accumulated, gradient in zip(total.values(), gradients, strict=True):
            accumulated += size(gradient)
        count += 1
        if count == examples:
            break
    return {name: summed / count for name, summed in total.items()}
