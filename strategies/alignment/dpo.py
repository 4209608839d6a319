"""Direct preference optimisation: prefer better answers more than the reference model does.

Rafailov et al. 2023, arXiv 2305.18290, equation 7 (from memory; checked by hand-computed tests). With log p(y) the
summed log-probability of an answer under the model that learns, log r(y) under the reference:

    loss = -log sigmoid(margin),    margin = beta ((log p(y+) - log r(y+)) - (log p(y-) - log r(y-)))

Its gradient at the start, where margin = 0, is -beta / 2 times that of log p(y+) - log p(y-).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cl.data.batches import Batch
from cl.data.sampling import Reading
from cl.errors import UserError
from cl.methods.method import Learned, Step
from cl.models import losses
from strategies.alignment.base import Alignment, Score

ROWS = 8  # of a pass over the reference at once


def margins(nll_P2: Tensor, reference_P2: Tensor, beta: float) -> Tensor:
    """Margin of each pair [P], from the summed nats of its better and its worse answer under both models."""
    gain = reference_P2 - nll_P2
    return beta * (gain[:, 0] - gain[:, 1])


class DPO(Alignment):
    """Align with preferences; the reference is the model with which the stage starts (after `sft`, where that is).

    beta: how far the model may leave the reference. See `Alignment` for the other settings; candidates are scored by
    the better answer. The reference's log-probabilities are computed once, before the first step, in place of a second
    model beside the learner; they are those of evaluation mode. All pairs of a step are in one pass.
    Deviations: none known. trl was not taken: its trainer is a second training loop.
    """

    phase: ClassVar[str] = "dpo"

    def __init__(
        self,
        of: str,
        count: int | None = 64,
        examples: int | None = None,
        score: Score = "ppl",
        keep: Literal["lowest", "highest"] = "lowest",
        rate: float = 0.1,
        beta: float = 0.1,
    ) -> None:
        super().__init__(of, count, examples, score, keep, rate)
        if beta <= 0:
            raise UserError(f"beta: {beta} must be above 0")
        self.beta = beta
        self.reference: dict[int, Tensor] = {}
        self.seen: list[Tensor] = []

    @torch.no_grad()
    def survey(self, ahead: Learned) -> None:
        """What the reference makes of each pair."""
        for batch in ahead.batches(ROWS):
            with ahead.as_trained():  # as the policy is computed, or rounding would look like a margin
                found = _pairs(ahead.outputs(batch), batch)
            self.reference |= dict(zip(_rows(batch), found, strict=True))

    def takes(self, batch: Batch, readings: Sequence[Reading]) -> Tensor:
        """All rows: a preference has no task loss."""
        return torch.ones(len(batch.ids), dtype=torch.bool)

    def step_terms(self, at: Step) -> dict[str, Tensor]:
        """The mean loss over the pairs of the step."""
        assert at.taken is not None
        reference = torch.stack([self.reference[row] for row in _rows(at.taken)])
        found = margins(_pairs(at.outputs(at.taken), at.taken), reference, self.beta)
        self.seen.append(found.detach())
        return {"dpo": -F.logsigmoid(found).mean()}

    def figures(self) -> dict[str, float]:
        """Mean margin, and share of pairs in which it is positive."""
        seen, self.seen = self.seen, []
        if not seen:
            return {}
        found = torch.cat(seen)
        return {"dpo/margin": float(found.mean()), "dpo/preferred": float((found > 0).float().mean())}


def _pairs(outputs: losses.Outputs, batch: Batch) -> Tensor:
    """Summed nats of the better and the worse answer of each pair, [P, 2]."""
    return losses.row_nll(outputs, batch.learned_by_row()).reshape(-1, 2)


def _rows(batch: Batch) -> list[int]:
    """The row of each pair in its set."""
    assert batch.origin is not None
    rows: list[int] = batch.origin[:, 1].tolist()
    return rows[::2]
