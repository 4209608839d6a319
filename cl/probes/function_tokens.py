"""Function tokens: the loss in four groups, by whether the token read and the token predicted are function tokens.

Function tokens are the most frequent tokens that jointly cover 40 % of a corpus: articles, punctuation, endings. The
rest carries content. The paper (arXiv 2510.08203, known from summaries) reports that predicting content after a
function token is hardest, that function tokens are learned first, and that larger models gain mostly on content.

The probe applies this to forgetting: a loss that rises where content is predicted speaks for lost knowledge, one that
rises where function tokens are predicted for a changed style. This reading is ours and not validated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cl.errors import UserError
from cl.probes.probe import Beside, Data, Measure, Probe, State
from cl.registry import unknown

if TYPE_CHECKING:
    from torch import Tensor

    from cl.data.batches import Batch
    from cl.models.losses import Outputs

GROUPS = ("content_to_content", "content_to_function", "function_to_content", "function_to_function")
"""Groups of (token read, token predicted), in the order of 2 * (read a function token) + (predicted one)."""


def _measures() -> tuple[Measure, ...]:
    """Loss and share of tokens of each group."""
    found = []
    for group in GROUPS:
        read, predicted = group.split("_to_")
        pair = f"where a {predicted} token follows a {read} token"
        found.append(Measure(group, "lower", "nats/token", f"Mean loss {pair}."))
        found.append(
            Measure(
                f"share_{group}", "neither", "share of tokens", f"Share of predicted tokens {pair}; of the data only."
            )
        )
    return tuple(found)


@dataclass(frozen=True)
class FunctionTokens(Probe):
    """Split the loss of the measured split into four groups of function and content tokens.

    The set of function tokens is fixed by a training split, so it is the same in all rows of R and for all data sets:
    the difference of two rows is a difference of losses on the same tokens. The losses of the groups, weighted by their
    shares, sum to the mean loss of the rows. A group without tokens has no loss. The separator between documents is
    counted as any other token.

    Args:
        of: text task whose training split fixes the set; by default the first text task of the scenario.
        cover: share of the tokens of this split that the function tokens jointly cover.
        rows: leading rows per data set that are measured, at most.

    Source: arXiv 2510.08203, definition and groups. Deviation: the corpus is a task of the stream and not the model's
    pre-training corpus, which is rarely at hand.
    """

    of: str | None = None
    cover: float = 0.4
    rows: int = 128

    kinds: ClassVar[tuple[str, ...]] = ("text",)
    measures: ClassVar[tuple[Measure, ...]] = _measures()

    def __post_init__(self) -> None:
        if not 0 < self.cover < 1:
            raise UserError(f"cover: {self.cover} must lie between 0 and 1: it is a share of tokens")
        if self.rows < 1:
            raise UserError(f"rows: {self.rows} must be at least 1")

    def check(self, beside: Beside) -> None:
        """Raise UserError if `of` is no text task of the stream."""
        if self.of is not None and self.of not in beside.sets:
            raise UserError(unknown("of", self.of, beside.sets))

    def measure(self, state: State, data: Data) -> dict[str, dict[str, float]]:
        """Return loss and share of each group, by data set.

        Args:
            state: the model.
            data: the text tasks of the stream.
        """
        import torch

        from cl.data.batches import collate
        from cl.data.rows import PackedRows

        base = data.rows(self.of or next(iter(data.folders)), "train")
        assert isinstance(base, PackedRows)
        function = most_frequent(torch.from_numpy(base.tokens.astype("int64")), self.cover).to(state.device)
        found = {}
        for name in data.folders:
            rows = data.rows(name, data.split)
            count = min(self.rows, len(rows))
            sums = torch.zeros(2, len(GROUPS), dtype=torch.float64)
            for start in range(0, count, state.batch):
                chosen = [rows[row] for row in range(start, min(start + state.batch, count))]
                batch = collate(chosen, state.loss.separator).to(state.device)
                with torch.no_grad():
                    sums += _sums(state.loss.outputs(batch), batch, function)
            if count:
                found[name] = _figures(sums)
        return found


def most_frequent(tokens_N: Tensor, cover: float) -> Tensor:
    """Ids of the fewest tokens that jointly cover a share of a text, most frequent first; ties by id.

    Args:
        tokens_N: token ids of the text.
        cover: the share.
    """
    import torch

    counts = torch.bincount(tokens_N)
    by_count = torch.argsort(counts, descending=True, stable=True)
    reached = counts[by_count].cumsum(0) >= cover * len(tokens_N)
    return by_count[: int(reached.int().argmax()) + 1]


def grouped(nll_N: Tensor, read_N: Tensor, predicted_N: Tensor, function: Tensor) -> Tensor:
    """Summed loss and number of tokens of each group [2, 4], in fp64.

    Args:
        nll_N: loss of each predicted token in nats.
        read_N: id of the token before it.
        predicted_N: its id.
        function: ids of the function tokens.
    """
    import torch

    group = 2 * torch.isin(read_N, function).long() + torch.isin(predicted_N, function).long()
    counts = torch.bincount(group, minlength=len(GROUPS)).double()
    return torch.stack([torch.zeros_like(counts).index_add(0, group, nll_N.double()), counts])


def _sums(outputs: Outputs, batch: Batch, function: Tensor) -> Tensor:
    """`grouped` of a batch of text, a chunk of logits at a time, on the processor."""
    import torch
    import torch.nn.functional as F

    nll = [
        F.cross_entropy(outputs.logits(part).float(), outputs.targets[part], reduction="none")
        for start in range(0, len(outputs.targets), outputs.chunk)
        for part in [slice(start, start + outputs.chunk)]
    ]
    return grouped(torch.cat(nll), batch.ids[:, :-1].flatten(), outputs.targets, function).cpu()


def _figures(sums: Tensor) -> dict[str, float]:
    """Mean loss of each group that has tokens, and its share of all tokens."""
    found: dict[str, float] = {}
    for group, nll, count in zip(GROUPS, *sums.tolist(), strict=True):
        found |= {group: nll / count} if count else {}
        found[f"share_{group}"] = count / float(sums[1].sum())
    return found
