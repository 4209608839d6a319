"""Dark experience replay: on replayed examples, keep the logits that the model had when it learned them.

Buzzega et al. 2020, arXiv 2004.07211, algorithm 2 (DER++):

    L = task loss + alpha * mean over tokens and vocabulary of (z - z_then)^2 + beta * task loss of replayed examples
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cl.errors import UserError
from cl.methods.method import Learned, Method, Remembers, Step
from strategies.rehearsal.base import Rehearsal

if TYPE_CHECKING:
    from torch import Tensor

    from cl.models.losses import Outputs
    from cl.models.pretrained import Outline


def logit_gap(hidden_ND: Tensor, then_ND: Tensor, gram_DD: Tensor) -> Tensor:
    """Mean over tokens of sum_v (z - z_then)_v^2 for logits z = hidden @ W^T, from the Gram matrix W^T W alone.

    |W d|^2 = d^T (W^T W) d, so no logits are formed: D^2 products per token instead of D x V.
    """
    moved = hidden_ND - then_ND
    return ((moved @ gram_DD) * moved).sum(-1).mean()


@dataclass(eq=False)
class DER(Rehearsal, Remembers):
    """Distil stored outputs into replayed rows, and learn these rows as well.

    Args:
        alpha: weight of the squared difference of logits. mammoth's value is .3, for images with some hundred classes.
        beta: weight of the task loss of replayed rows; 0 is DER, else DER++. mammoth's value is .5.

    The memory holds the hidden states of the learned tokens before a frozen output layer. The logits follow from them
    exactly, with D numbers per token instead of V. So the output layer must not be trained (`lora` does not adapt it).

    Deviations: the stored outputs are those at the end of their task, not of the moment at which an example entered the
    buffer. One draw of replayed rows serves both terms (the paper's two draws are independent; the expected gradient is
    the same), and it replaces new rows instead of being added to them.

    Keeps between tasks: the examples, and 4 D bytes for each of their learned tokens.
    """

    name = "der"

    alpha: float = 0.3
    beta: float = 0.5

    kept: dict[tuple[str, int], Tensor] = field(init=False, repr=False, default_factory=dict)
    """Stored hidden states [n, D] by source and row."""
    gram: Tensor | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        if self.alpha < 0 or self.beta < 0:
            raise UserError(f"alpha {self.alpha} and beta {self.beta} must be at least 0")

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Warn about settings under which replayed rows have no effect."""
        return [] if self.alpha or self.beta else ["alpha 0 and beta 0 learn nothing from what is replayed"]

    def suits(self, outline: Outline) -> None:
        """Refuse a model whose logits do not follow from the hidden states that are kept."""
        if outline.origin == "directory":
            from cl.models import backbone

            backbone.check_splits(outline, "only hidden states are kept")

    def remember(self, memory: Mapping[str, Tensor]) -> None:
        """Load the stored hidden states of each row."""
        for task in {key.rpartition("/")[0] for key in memory}:
            counts = memory[f"{task}/counts"].tolist()
            rows = zip(memory[f"{task}/rows"].tolist(), memory[f"{task}/hidden"].split(counts), strict=True)
            self.kept |= {(task, row): hidden for row, hidden in rows}

    def step_terms(self, at: Step) -> dict[str, Tensor]:
        """Return both terms on the replayed rows of the step; none if the step has no replayed row."""
        import torch

        from cl.models import losses

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
        import torch

        found = dict(learned.memory)
        rows: dict[str, list[Tensor]] = {}
        for batch in learned.batches(16):
            with torch.no_grad(), learned.as_trained():  # the student's outputs have the same precision
                outputs = learned.outputs(batch)
            assert batch.origin is not None
            task = learned.tasks[int(batch.origin[0, 0])]
            parts = {"rows": batch.origin[:, 1], "counts": batch.learned_by_row(), "hidden": outputs.values.float()}
            for name, value in parts.items():
                rows.setdefault(f"{task}/{name}", []).append(value)
        return found | {key: torch.cat(values) for key, values in rows.items()}
