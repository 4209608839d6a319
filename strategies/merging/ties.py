"""TIES: trim each task's small changes, elect a sign for every entry, and average the changes with that sign.

Yadav et al. 2023, arXiv 2306.01708, algorithm 1; code `prateeky2806/ties-merging` (`topk20`, `mass`, `dis-mean`).
With tau_t = theta_t - theta_0 and each entry p separately, where top keeps the largest magnitudes of a whole vector:

    trimmed_t = top(tau_t, keep),   sign(p) = sgn(sum over t of trimmed_t(p))
    evaluated model = theta_0 + scale * mean over {t: sgn(trimmed_t(p)) = sign(p)} of trimmed_t(p)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cl.errors import UserError
from strategies.merging.base import Scaled, entrywise

if TYPE_CHECKING:
    from torch import Tensor

    from strategies.merging.base import Vector


def smallest_kept(vector: Vector, size: int, keep: float) -> Tensor:
    """Magnitude of the last of the max(1, int(keep * size)) largest entries of a vector.

    Args:
        vector: a task vector; entries that it lacks are 0.
        size: number of entries, those that the vector lacks included.
        keep: share of the entries that is kept.

    Returns:
        0 if the vector has no more entries than are kept.
    """
    import torch

    sizes = torch.cat([torch.zeros(0), *(value.abs().flatten() for value in vector.values())])
    beyond = len(sizes) - max(1, int(keep * size))
    return sizes.kthvalue(beyond + 1).values if beyond > 0 else torch.zeros(())


def elected_mean(trimmed: Tensor) -> Tensor:
    """Mean of the entries of [T, …] that have the sign of their sum; 0 where the sum is 0."""
    agree = (trimmed.sign() == trimmed.sum(0).sign()) & (trimmed != 0)
    return (trimmed * agree).sum(0) / agree.sum(0).clamp(min=1)


@dataclass(eq=False)
class TIES(Scaled):
    """Evaluate the base model plus the scaled merged vector; training is not affected.

    Args:
        keep: share of each vector's entries that is kept. The authors keep 20 %.
        trim: `vector`: the largest entries of the whole vector are kept, as in the paper; `tensor`: of each tensor, as
            in peft's `ties`.
        scale: factor on the merged vector. 1 is recalled, not read, as the value recommended without validation data.

    `keep` is counted over the parameters that any task changed: with `lora` over the weights of the adapted modules,
    not over the whole model as in the paper's full fine-tuning. For `scale` the authors' code searches 0.8 to 2.5 on
    validation data; MagMax's code takes 0.55.
    Meant for tasks that were each learned from the base model: put `scratch` before it.

    Deviations: where trimmed entries cancel, the merged entry is 0, as in the algorithm; the authors' code elects the
    sign that most entries have, and peft the positive one. All entries as large as the smallest kept one are kept; the
    authors' code keeps one entry more.

    Keeps between tasks: the state of every task. Ranking takes two more copies of a vector in memory.
    """

    keep: float = 0.2
    trim: Literal["vector", "tensor"] = "vector"
    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.keep <= 1:
            raise UserError(f"keep: {self.keep} must be a share above 0 and at most 1")

    def merges(self, states: int) -> bool:
        """Do not merge a single state that is neither trimmed nor scaled."""
        return super().merges(states) or self.keep < 1

    def merge(self, vectors: Sequence[Vector]) -> dict[str, Tensor]:
        """Return the scaled mean of the entries with the elected sign."""
        if self.trim == "vector":
            return self._merged(vectors)
        names = dict.fromkeys(name for vector in vectors for name in vector)
        parts = [[{name: vector[name]} if name in vector else {} for vector in vectors] for name in names]
        return {name: value for part in parts for name, value in self._merged(part).items()}

    def _merged(self, vectors: Sequence[Vector]) -> dict[str, Tensor]:
        """The merged vector, with the entries of all tensors ranked together."""
        import torch

        size = sum({name: value.numel() for vector in vectors for name, value in vector.items()}.values())
        least = torch.stack([smallest_kept(vector, size, self.keep) for vector in vectors])

        def merged(stacked: Tensor) -> Tensor:
            kept = stacked.abs() >= least.view(-1, *[1] * (stacked.dim() - 1))
            return self.scale * elected_mean(stacked * kept)

        return entrywise(vectors, merged)
