"""What merging methods share: an operation on single entries of the task vectors, and a scale.

    evaluated model = theta_0 + scale * merge(tau_1, …, tau_T),   tau_t = theta_t - theta_0

Adapters are merged into the weights before tau_t is taken, so the merged quantity is the update scale * B @ A. Merging
factors instead would be wrong: (A_1 + A_2) and (B_1 + B_2) also make the products B_1 @ A_2 and B_2 @ A_1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from cl.errors import UserError
from cl.methods.method import Merges, Method

if TYPE_CHECKING:
    from torch import Tensor

    Vector = Mapping[str, Tensor]
    """Difference of a state from the base model, by parameter; a parameter without a difference is absent."""


def entrywise(vectors: Sequence[Vector], merge: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Apply `merge` to each parameter, given stacked as [T, …]; a vector without the parameter counts as 0."""
    import torch

    zeros = {name: value.new_zeros(()).expand_as(value) for vector in vectors for name, value in vector.items()}
    return {name: merge(torch.stack([vector.get(name, zero) for vector in vectors])) for name, zero in zeros.items()}


class Scaled(Merges):
    """Add `scale` times a merged vector to the base model. A subclass is a dataclass with the field `scale`."""

    scale: float

    def __post_init__(self) -> None:
        if self.scale < 0:
            raise UserError(f"scale: {self.scale} must be at least 0; a negative one would unlearn the tasks")

    def merges(self, states: int) -> bool:
        """Do not merge a single state at full scale, since the result would be that state."""
        return states > 1 or self.scale != 1

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Warn about scale 0, under which nothing learned is left."""
        return [] if self.scale else ["scale 0 evaluates the base model in every row"]
