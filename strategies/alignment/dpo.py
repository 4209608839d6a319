"""Direct preference optimisation: prefer better answers more than the reference model does.

Rafailov et al. 2023, arXiv 2305.18290, equation 7 (from memory; equal to the authors' code, see
docs/methods/parity.md). With log p(y) the summed log-probability of an answer under the model that learns, log r(y)
under the reference:

    loss = -log sigmoid(margin),    margin = beta ((log p(y+) - log r(y+)) - (log p(y-) - log r(y-)))

Its gradient at the start, where margin = 0, is -beta / 2 times that of log p(y+) - log p(y-).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from cl.errors import UserError
from cl.methods.method import Learned
from strategies.alignment.base import Alignment

if TYPE_CHECKING:
    from torch import Tensor

    from cl.data.batches import Batch
    from cl.methods.objective import Objective
    from cl.models.losses import Outputs

ROWS = 8  # rows of a pass over the reference at once


def margins(nll_P2: Tensor, reference_P2: Tensor, beta: float) -> Tensor:
    """Margin of each pair [P], from the summed nats of its better and its worse answer under both models."""
    gain = reference_P2 - nll_P2
    return beta * (gain[:, 0] - gain[:, 1])


class Preference:
    """Objective: -log sigmoid of the margin of each pair.

    Args:
        beta: factor of the margin.
    """

    learns_from: tuple[str, ...] = ("preference",)
    rows, name = 2, "dpo"

    def __init__(self, beta: float) -> None:
        self.beta = beta
        self.reference: dict[int, Tensor] = {}  # by row of the set: nats of both answers under the reference [2]
        self.seen: list[Tensor] = []  # margins of the pairs since `DPO.figures` was last called

    def count(self, batch: Batch) -> int:
        """Pairs."""
        return len(batch.ids) // 2

    def total(self, model: Any, outputs: Outputs, batch: Batch) -> Tensor:
        """Summed loss of the pairs."""
        import torch
        import torch.nn.functional as F

        reference = torch.stack([self.reference[row] for row in _rows(batch)])
        found = margins(_pairs(outputs, batch), reference, self.beta)
        self.seen.append(found.detach())
        return -F.logsigmoid(found).sum()


@dataclass(eq=False)
class DPO(Alignment):
    """Align with preferences; the reference is the model with which the stage starts (after `sft`, if it is listed).

    Args:
        of: the general set, of kind `preference`; candidates are scored by the better answer.
        count: pairs of the set that are kept. None: all.
        examples: pairs that the stage trains in all, repetitions counted. None: each of `count` once.
        score: how candidates are scored: `ppl`, `fas_sample`, `fas_response` or `random`.
        keep: keep the candidates with the `lowest` or the `highest` score.
        rate: factor on the peak learning rate.
        beta: factor of the margin; it decides how far the model may leave the reference.

    See `Alignment` for the selection and its sources. The log-probabilities of the reference are computed once, before
    the first step, in evaluation mode; so no second model is held beside the learner.

    Deviations: none known. trl was not used: its trainer is a second training loop.

    Keeps between tasks: nothing; the next task continues from the state before the alignment.
    """

    phase: ClassVar[str] = "dpo"
    shardable: ClassVar[bool] = False

    rate: float = 0.1
    beta: float = 0.1

    preference: Preference = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta <= 0:
            raise UserError(f"beta: {self.beta} must be above 0")
        self.preference = Preference(self.beta)

    def objective(self) -> Objective:
        """Minimise the loss of the pairs."""
        return self.preference

    def survey(self, ahead: Learned) -> None:
        """Compute the log-probabilities of each pair under the reference."""
        import torch

        with torch.no_grad():
            for batch in ahead.batches(ROWS):
                with ahead.as_trained():  # in the precision of the policy, or rounding would look like a margin
                    found = _pairs(ahead.outputs(batch), batch)
                self.preference.reference |= dict(zip(_rows(batch), found, strict=True))

    def figures(self) -> dict[str, float]:
        """Return the mean margin, and the share of pairs whose margin is positive."""
        import torch

        seen, self.preference.seen = self.preference.seen, []
        if not seen:
            return {}
        found = torch.cat(seen)
        return {"dpo/margin": float(found.mean()), "dpo/preferred": float((found > 0).float().mean())}


def _pairs(outputs: Outputs, batch: Batch) -> Tensor:
    """Summed nats of the better and the worse answer of each pair, [P, 2]."""
    from cl.models import losses

    return losses.row_nll(outputs, batch.learned_by_row()).reshape(-1, 2)


def _rows(batch: Batch) -> list[int]:
    """Row of each pair in its set."""
    assert batch.origin is not None
    rows: list[int] = batch.origin[:, 1].tolist()
    return rows[::2]
