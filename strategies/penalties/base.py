"""A quadratic pull to the optima of earlier tasks, weighted by the importance of each parameter: EWC, MAS and SI.

    penalty = weight * factor * sum over kept tasks of  sum_k importance_k (theta_k - theta*_k)^2

`online` keeps one importance, I <- gamma I + I_t, and the newest optimum; `offline` keeps both for every task.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from cl.errors import UserError
from cl.methods.method import Learned, Method, Remembers, Step, Trains

if TYPE_CHECKING:
    from torch import Tensor

    from cl.data.batches import Batch

Mode = Literal["online", "offline"]


def quadratic(theta: Tensor, anchor: Tensor, importance: Tensor) -> Tensor:
    """sum_k I_k (theta_k - theta*_k)^2; of tensors whose rows are spread over processes, the sum over all."""
    from cl.models import sharding

    return sharding.whole((importance * (theta - anchor).square()).sum())


@dataclass(eq=False)
class Anchored(Trains, Remembers, ABC):
    """Hold trained parameters near earlier optima; a subclass says how important each parameter is.

    Args:
        weight: coefficient of the penalty.

    Needs parameters that continue from task to task: full fine-tuning, or `lora` with life `continue`. On fresh
    adapters an earlier optimum is meaningless.

    Keeps between tasks: 2 copies of the trained parameters, or with `offline` 2 per task.
    """

    shardable: ClassVar[bool] = True
    name: ClassVar[str]
    factor: ClassVar[float]

    weight: float

    memory: dict[str, Tensor] = field(init=False, repr=False, default_factory=dict)
    held: list[tuple[str, Tensor, Tensor]] = field(init=False, repr=False, default_factory=list)
    """Name of the parameter, optimum and importance of each held tensor."""

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise UserError(f"weight {self.weight} must be at least 0")

    @abstractmethod
    def importance(self, learned: Learned, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the importance of each parameter to the task just learned, by name."""

    def active(self, t: int) -> bool:
        """Do not act at t = 1, where there is nothing to hold, nor with weight 0."""
        return t > 1 and self.weight > 0

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Warn about a weight under which nothing is held."""
        return ["weight 0 is equivalent to plain fine-tuning"] if self.weight == 0 else []

    def remember(self, memory: Mapping[str, Tensor]) -> None:
        """Load importance and optimum by parameter."""
        self.memory = dict(memory)

    def prepare(self, model: Any, t: int) -> Any:
        """Pair parameters with their remembered importance and optimum.

        A stage that starts from the base model (`scratch`) follows no other stage, and nothing is held.

        Raises:
            UserError: if the names of the trained parameters differ from the remembered names.
        """
        self.held = []
        if not self.memory:
            return model
        importance = {key: value for key, value in self.memory.items() if key.startswith("importance")}
        if {key.partition("/")[2] for key in importance} != trained(model).keys():
            remedy = "use full fine-tuning or lora with life continue"
            raise UserError(f"{self.name}: trains other parameters than the task before; {remedy}")
        self.held = [
            (key.partition("/")[2], self.memory[key.replace("importance", "optimum", 1)], value)
            for key, value in importance.items()
        ]
        return model

    def terms(self, model: Any) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Parameter, optimum and importance of each held tensor, as the parameter's process and device hold it."""
        from cl.models import sharding

        parameters = trained(model)

        def placed(name: str, value: Tensor) -> Tensor:
            return sharding.like(value.to(model.device), parameters[name])

        self.held = [(name, placed(name, one), placed(name, other)) for name, one, other in self.held]
        return [(parameters[name], optimum, importance) for name, optimum, importance in self.held]

    def step_terms(self, at: Step) -> dict[str, Tensor]:
        """Return the penalty, if anything is held."""
        import torch

        if not self.held:
            return {}
        parts = [quadratic(*term) for term in self.terms(at.model)]
        return {self.name: self.weight * self.factor * torch.stack(parts).sum()}

    def consolidate(self, learned: Learned) -> dict[str, Tensor]:
        """Return importance and optimum after the task; importance adds up over tasks (`online`, gamma 1)."""
        parameters = trained(learned.model)
        return online(learned.memory, self.importance(learned, parameters), parameters, gamma=1.0)


@dataclass(eq=False)
class Estimated(Anchored, ABC):
    """An `Anchored` method that estimates importance in a pass over rows of the task just learned.

    Args:
        weight: coefficient of the penalty.
        mode: `online`: one importance and the newest optimum; `offline`: both for every task.
        gamma: decay of the older importance, in [0, 1]; `online` only.
        examples: rows of the task from which importance is estimated; 0: all rows.
    """

    memory_settings: ClassVar[tuple[str, ...]] = ("mode", "gamma", "examples")

    mode: Mode = "online"
    gamma: float = 1.0
    examples: int = 128

    def __post_init__(self) -> None:
        if self.weight < 0 or not 0 <= self.gamma <= 1 or self.examples < 0:
            positive = f"weight {self.weight} and examples {self.examples} must be at least 0"
            raise UserError(f"{positive}, gamma {self.gamma} in [0, 1]")

    def consolidate(self, learned: Learned) -> dict[str, Tensor]:
        """Return importance and optimum after the task, combined with the earlier ones according to `mode`."""
        parameters = trained(learned.model)
        found = self.importance(learned, parameters)
        if self.mode == "online":
            return online(learned.memory, found, parameters, self.gamma)
        return {**learned.memory, **_entries(f".{learned.t}", found, parameters)}


def trained(model: Any) -> dict[str, Tensor]:
    """Trained parameters of a model, by name."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def online(
    memory: Mapping[str, Tensor], found: Mapping[str, Tensor], parameters: Mapping[str, Tensor], gamma: float
) -> dict[str, Tensor]:
    """Memory after a task in which importance `found` [of each parameter] was measured: I <- gamma I + I_t.

    Args:
        memory: memory of the task before; empty after the first task.
        found: importance to the task just learned, by parameter. It is changed in place.
        parameters: values at the end of the task: the newest optimum.
        gamma: decay of the older importance.
    """
    for name, value in found.items():
        if f"importance.all/{name}" in memory:
            value += gamma * memory[f"importance.all/{name}"].to(value.device)
    return _entries(".all", found, parameters)


def _entries(which: str, found: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Importance and optimum under their names in the memory."""
    optima = {f"optimum{which}/{name}": value.detach().clone() for name, value in parameters.items()}
    return {f"importance{which}/{name}": value for name, value in found.items()} | optima


def mean_over_rows(
    learned: Learned,
    examples: int,
    value: Callable[[Batch], Tensor],
    size: Callable[[Tensor], Tensor],
    parameters: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Mean over single rows of `size` of the gradient of `value(row)`, by parameter.

    Args:
        learned: the stage just learned.
        examples: number of rows at most; 0: all rows.
        value: scalar of one row, whose gradient is taken.
        size: function of a gradient, applied entry by entry.
        parameters: parameters by name.
    """
    import torch

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
