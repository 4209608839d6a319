"""Dark experience replay: on replayed examples, keep the logits that the model had when it learned them.

Buzzega et al. 2020, arXiv 2004.07211, algorithm 2 (DER++):

    L = task loss + alpha * mean over tokens and vocabulary of (z - z_then)^2 + beta * task loss of replayed examples
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from cl.data.batches import IGNORE, Batch
from cl.errors import UserError
from cl.methods.method import Learned, Step
from cl.models import losses
from cl.models.losses import Outputs
from strategies.rehearsal.base import Rehearsal


def logit_gap(hidden_ND: Tensor, then_ND: Tensor, gram_DD: Tensor) -> Tensor:
    """Mean over tokens of sum_v (z - z_then)_v^2 for logits z = hidden @ W^T, from the Gram matrix W^T W alone.

    |W d|^2 = d^T (W^T W) d, so no logits are formed: D^2 in place of D x V products a token.
    """
    moved = hidden_ND - then_ND
    return ((moved @ gram_DD) * moved).sum(-1).mean()


class DER(Rehearsal):
    """Distil stored outputs into replayed rows (alpha), and learn the rows as well (beta); beta 0 is DER, else DER++.

    alpha, beta: mammoth's .3 and .5 are for images with some hundred classes. What is stored are the hidden states of
    the learned tokens before a frozen output layer, from which the logits follow exactly, at D numbers a token in
    place of V; so the output layer must not be trained (`lora` leaves it alone).
    Deviations: outputs are those at the end of their task, not of the moment an example entered the buffer; one draw of
    replayed rows serves both terms (the paper's two are independent; the expected gradient is the same), and replaces
    new rows instead of coming on top.
    Keeps between tasks: the examples, and 4 D bytes for each of their learned tokens.
    """

    memory_settings: ClassVar[tuple[str, ...]] = ()
    name = "der"

    def __init__(self, alpha: float = 0.3, beta: float = 0.5) -> None:
        super().__init__()
        if alpha < 0 or beta < 0:
            raise UserError(f"alpha {alpha} and beta {beta} must be at least 0")
        self.alpha, self.beta = alpha, beta
        self.kept: dict[tuple[str, int], Tensor] = {}  # by source and row: hidden states [n, D]
        self.gram: Tensor | None = None

    def warnings(self) -> list[str]:
        """Settings under which replayed rows are wasted."""
        return [] if self.alpha or self.beta else ["alpha 0 and beta 0 learn nothing from what is replayed"]

    def remember(self, memory: Mapping[str, Tensor]) -> None:
        """Find the stored states of each row."""
        for task in {key.rpartition("/")[0] for key in memory}:
            counts = memory[f"{task}/counts"].tolist()
            rows = zip(memory[f"{task}/rows"].tolist(), memory[f"{task}/hidden"].split(counts), strict=True)
            self.kept |= {(task, row): hidden for row, hidden in rows}

    def step_terms(self, at: Step) -> dict[str, Tensor]:
        """Both terms on the replayed rows of the step; none where there is none."""
        if at.taken is None:
            return {}
        outputs, terms = at.outputs(at.taken), {}
        if self.alpha:
            then = torch.cat([self._then(at, *origin) for origin in at.taken.origin.tolist()])  # type: ignore[union-attr]
            gap = logit_gap(outputs.values.float(), then.to(outputs.values.device), self._gram(outputs))
            terms["der/logits"] = self.alpha * gap / outputs.weight.shape[0]  # type: ignore[union-attr]
        if self.beta:
            terms["der/replay"] = self.beta * losses.total_nll(outputs) / len(outputs.targets)
        return terms

    def _then(self, at: Step, reading: int, row: int) -> Tensor:
        source = at.readings[reading].source
        if (source, row) not in self.kept:
            raise UserError(
                f"der: no outputs of {source} are kept, it was not learned here; replay tasks of the stream"
            )
        return self.kept[source, row]

    def _gram(self, outputs: Outputs) -> Tensor:
        if outputs.weight is None or outputs.weight.requires_grad:
            raise UserError(
                "der: needs a plain output layer that is not trained; use lora, whose targets leave it alone"
            )
        if self.gram is None:
            weight = outputs.weight.detach().float()
            self.gram = weight.T @ weight
        return self.gram

    def consolidate(self, learned: Learned) -> dict[str, Tensor]:
        """Add the hidden states of all rows of the task just learned."""
        found = dict(learned.memory)
        rows: dict[str, list[Tensor]] = {}
        for batch in learned.batches(16):
            with torch.no_grad():
                outputs = learned.outputs(batch)
            assert batch.origin is not None
            task = learned.tasks[int(batch.origin[0, 0])]
            parts = {"rows": batch.origin[:, 1], "counts": _counts(batch), "hidden": outputs.values.float()}
            for name, value in parts.items():
                rows.setdefault(f"{task}/{name}", []).append(value)
        return found | {key: torch.cat(values) for key, values in rows.items()}


def _counts(batch: Batch) -> Tensor:
    """Learned tokens of each row, [B]."""
    if batch.targets is None:
        return torch.full((len(batch.ids),), batch.ids.shape[1] - 1)
    return (batch.targets != IGNORE).sum(1)
