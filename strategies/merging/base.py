"""What methods that merge have in common: an operation on single entries of the task vectors, and a scale.

    evaluated model = theta_0 + scale * merge(tau_1, …, tau_T),   tau_t = theta_t - theta_0

Adapters are merged into the weights before tau_t is taken, so what is merged is the update scale * B @ A. Merging
factors instead would be wrong: (A_1 + A_2) and (B_1 + B_2) also make the products B_1 @ A_2 and B_2 @ A_1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from cl.errors import UserError
from cl.methods.method import Method

Vector = Mapping[str, Tensor]
"""How a state differs from the base model, by parameter; one that does not differ is absent."""


def entrywise(vectors: Sequence[Vector], merge: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """What `merge` makes of each parameter, given stacked as [T, …]: 0 where a vector does not have it."""
    zeros = {name: value.new_zeros(()).expand_as(value) for vector in vectors for name, value in vector.items()}
    return {name: merge(torch.stack([vector.get(name, zero) for vector in vectors])) for name, zero in zeros.items()}


class Scaled(Method):
    """A method that adds `scale` times what it merges to the base model."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        if scale < 0:
            raise UserError(f"scale: {scale} must be at least 0; a negative one would unlearn the tasks")
        self.scale = scale

    def merges(self, states: int) -> bool:
        """Not of a single state at full scale, which is that state."""
        return states > 1 or self.scale != 1

    def warnings(self) -> list[str]:
        """A scale under which nothing is left of what was learned."""
        return [] if self.scale else ["scale 0 evaluates the base model in every row"]
