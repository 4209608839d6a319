"""Recognition: whether the model finds what it studied likelier than a text like it that it never saw.

Orhan 2023, "Recognition, recall, and retention of few-shot memories in large language models", arXiv 2303.17557.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cl.probes.probe import Data, Measure, Probe, State

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Recognition(Probe):
    """Compare the loss of each studied passage with that of its twin, which was never studied.

    Row 0 of a run is the same before the study. It is near one half only where passages and twins are drawn alike; a
    changed word or disorder is less likely from the start.

    Source: arXiv 2303.17557; its code compares mean losses per token, one text at a time. Here texts are read in
    batches, which changes a loss by no more than rounding.
    """

    kinds: ClassVar[tuple[str, ...]] = ("passage",)
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("recognised", "higher", "share of passages", "Share of studied passages with less loss than the twin."),
        Measure("studied", "lower", "nats per token", "Mean loss of the studied passages."),
        Measure("twins", "neither", "nats per token", "Mean loss of their twins, which were never studied."),
    )

    def measure(self, state: State, data: Data) -> dict[str, dict[str, float]]:
        """Return the figures of each set of passages.

        Args:
            state: the model.
            data: the sets of passages.
        """
        from cl.models.row_losses import row_losses

        result = {}
        for name in data.folders:
            both = (data.rows(name, split) for split in ("train", "train.twins"))
            studied, twins = (row_losses(state.loss, rows, len(rows), state.batch, state.device) for rows in both)
            means = {"studied": float(studied.mean()), "twins": float(twins.mean())}
            result[name] = {"recognised": recognised(studied, twins), **means}
        return result


def recognised(studied_N: Tensor, twins_N: Tensor) -> float:
    """Share of pairs in which the studied passage has strictly less loss than its twin.

    Args:
        studied_N: mean loss of each studied passage [N].
        twins_N: mean loss of its twin [N].
    """
    return float((studied_N < twins_N).double().mean())
