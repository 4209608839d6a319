"""How far the next-token distribution has moved from the base model: KL divergence in both directions.

Shenfeld, Pari and Agrawal 2025 ("RL's Razor", arXiv 2509.04259) find that forgetting is predicted by the forward
divergence E_x KL(base(.|x) || state(.|x)) on inputs x of the *new* task, better than by the reverse divergence or the
distance of weights. Read: the authors' project page, and others' summaries that quote the paper's table; not the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cl.errors import UserError
from cl.probes.probe import Data, Measure, Probe, State

if TYPE_CHECKING:
    from torch import Tensor

    from cl.data.batches import Batch


@dataclass(frozen=True)
class Divergence(Probe):
    """Mean KL divergence per learned token between the base model of the run and the state, on text as it is.

    The state of the base model itself has exactly 0. A set that the state answers by the base model alone (adapters of
    each task, and no adapter of this set) has 0 as well. Each task is measured on its held-out split, and so are the
    sets outside of the stream.

    Args:
        rows: leading rows per data set that are measured, at most.

    Source: arXiv 2509.04259. Deviation: the paper's outputs are drawn from a model; here both models read the reference
    text, and the divergence of the distributions of the next token is exact, a sum over the vocabulary. So it is that
    of the text's prefixes, per token and not per answer, and no noise of sampling is in it.
    """

    rows: int = 64

    kinds: ClassVar[tuple[str, ...]] = ("text", "instruction")
    needs_base: ClassVar[bool] = True
    reads_outside: ClassVar[bool] = True
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure(
            "forward_kl",
            "neither",
            "nats/token",
            "KL(base || state), which grows where the state no longer expects what the base model does.",
            apart=True,
        ),
        Measure(
            "reverse_kl",
            "neither",
            "nats/token",
            "KL(state || base), which grows where the state expects what the base model does not.",
            apart=True,
        ),
    )

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise UserError(f"rows: {self.rows} must be at least 1")

    def measure(self, state: State, data: Data) -> dict[str, dict[str, float]]:
        """Return both divergences of each data set.

        Args:
            state: the model, and the base model.
            data: the data sets of the stream, and those outside of it.

        Raises:
            UserError: for a split without rows.
        """
        from cl.data.batches import collate

        found = {}
        for name in data.folders:
            rows = data.rows(name, data.split)
            count = min(self.rows, len(rows))
            if not count:
                raise UserError(f"{name}: the {data.split} split holds no row; give more text or remove the probe")
            total, tokens = [0.0, 0.0], 0
            for start in range(0, count, state.batch):
                chosen = [rows[row] for row in range(start, min(start + state.batch, count))]
                batch = collate(chosen, state.loss.separator).to(state.device)
                total = [sum(pair) for pair in zip(total, _of_batch(state, batch), strict=True)]
                tokens += int(batch.learned())
            found[name] = {"forward_kl": total[0] / tokens, "reverse_kl": total[1] / tokens}
        return found


def _of_batch(state: State, batch: Batch) -> tuple[float, float]:
    """Both divergences summed over the learned tokens of a batch; logits are held for some tokens at a time."""
    import torch

    assert state.base is not None
    forward = reverse = 0.0
    with torch.no_grad():
        own, base = state.loss.outputs(batch), state.base.outputs(batch)
        for start in range(0, len(own.targets), own.chunk):
            part = slice(start, start + own.chunk)
            log_p, log_q = (each.logits(part).double().log_softmax(-1) for each in (base, own))
            forward += float(kl(log_p, log_q).sum())
            reverse += float(kl(log_q, log_p).sum())
    return forward, reverse


def kl(log_p_NV: Tensor, log_q_NV: Tensor) -> Tensor:
    """KL(p || q) in nats of each token [N]: the sum over the vocabulary of p (log p - log q); 0 if p is q.

    Args:
        log_p_NV: log-probabilities [N, V].
        log_q_NV: log-probabilities [N, V].
    """
    return (log_p_NV.exp() * (log_p_NV - log_q_NV)).sum(-1)
