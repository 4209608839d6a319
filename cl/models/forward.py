"""Forward pass of a causal language model: outputs at the learned tokens of a batch, and their cross-entropy.

Documents of a row do not see one another (`boundaries`). The model itself makes the masks of its layers, because a mask
that is given to it would replace its own in every layer, windows included. Where restarting positions do not suffice,
each document is read as a row of its own, padded on the right, which no causal model lets it see. Examples of unequal
length may be packed into rows of one length (`cl.data.packing`); their outputs come in the order of the batch.

Shapes: B rows, T tokens per row, N = learned tokens (B*T for text), D hidden width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from cl.data import batches, packing
from cl.data.batches import Batch
from cl.data.rows import IGNORE
from cl.models import adapters, attention, backbone, losses
from cl.models.losses import Outputs


class TokenLoss:
    """Summed cross-entropy of a causal language model on batches, in nats.

    If the logits of a micro-batch would exceed `losses.CHUNK_BYTES`, they are computed in chunks from the hidden
    states, unless the architecture changes its logits after the output layer.

    Args:
        model: any transformers causal language model.
        separator: id of the token that starts a document.
        boundaries: keep attention and positions inside documents.
        kernel: kernel that computes attention (`cl.models.attention`). None: the model's own.
        width: tokens of the rows that examples are packed into. None: an example is a row.

    Raises:
        UserError: if the model or the machine does not have the kernel.
    """

    def __init__(
        self,
        model: Any,
        separator: int,
        boundaries: bool,
        kernel: attention.Kernel | None = None,
        width: int | None = None,
    ) -> None:
        self.model, self.separator, self.boundaries = model, separator, boundaries
        self.kernel, self.width = kernel, width
        if kernel is not None:
            attention.use(model, kernel)
        self.backbone = backbone.of(model)
        self.outputs: Callable[[Batch], Outputs] = self.compute
        self.root: nn.Module | None = None  # module that holds a sharded model
        self.prefix: Tensor | None = None  # embeddings [B, P, D] before the rows of a batch, see `behind`

    @property
    def splits(self) -> bool:
        """Whether logits are a plain linear layer of the last hidden states."""
        return self.backbone.splits

    def total(self, batch: Batch) -> Tensor:
        """Cross-entropy summed over all learned target tokens of a batch."""
        return losses.total_nll(self.outputs(batch))

    @contextmanager
    def behind(self, prefix: Tensor | None) -> Iterator[None]:
        """Context in which each row of a batch is read behind embeddings of its own.

        Args:
            prefix: embeddings [B, P, D], one prefix for each row, which is one document. None: no prefix.
        """
        self.prefix = prefix
        try:
            yield
        finally:
            self.prefix = None

    def compute(self, batch: Batch) -> Outputs:
        """Compute the outputs at the learned tokens of a batch; the output layer is not applied to other tokens.

        Call `outputs` instead: for a sharded model it runs the hooks that gather the weights.
        """
        targets = (batch.ids[:, 1:] if batch.targets is None else batch.targets).reshape(-1)
        values = self._values(batch)
        weight = self.model.get_output_embeddings().weight if self.splits else None
        if batch.targets is None:
            return Outputs(values, weight, targets)
        keep = targets != IGNORE
        return Outputs(values[keep], weight, targets[keep])

    def _values(self, batch: Batch) -> Tensor:
        """Last hidden states of all input tokens [B*T, D], or logits [B*T, V] if the architecture changes logits."""
        ids, prompt = batch.ids[:, :-1], adapters.prompt(self.model) if self.prefix is None else self.prefix
        width = None if batch.targets is None else self.width  # rows of text have one length
        apart = self.boundaries or batch.parts is not None
        if not apart and width is None:
            return self._read(ids, prompt).flatten(0, 1)
        segments = batches.segments(batch, self.separator) if apart else torch.zeros_like(ids)
        restarts = self.backbone.isolation == "positions" and prompt is None
        if restarts and width is not None:
            width = None if attention.joins(self.model, self.kernel) else width
            rows = packing.packed(batch, batches.positions(segments), width, self.separator)
            return self._read(rows.ids, positions=rows.positions).flatten(0, 1)[rows.places]
        # pieces of one length are rows of their own at less cost than a mask
        if restarts and batch.parts is None:
            return self._read(ids, positions=batches.positions(segments)).flatten(0, 1)
        found: dict[int, Tensor] = {}
        for group in batches.documents(ids, segments):
            padded = pad_sequence(list(group.values()), batch_first=True, padding_value=self.separator)
            own = prompt if prompt is None or prompt.dim() == 2 else prompt[list(group)]
            values = self._read(padded, own)
            found |= {place: values[row, : len(group[place])] for row, place in enumerate(group)}
        return torch.cat([found[place] for place in sorted(found)])

    def _read(self, ids: Tensor, prompt: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """Last hidden states [B, T, D] or logits [B, T, V] of rows, behind a prompt [P, D] or [B, P, D].

        Without positions, a row is one document.
        """
        if positions is not None:
            return self._read_restarting(ids, positions)
        if prompt is None:
            return self._run(input_ids=ids)
        embedded = self.model.get_input_embeddings()(ids)
        return self._run(inputs_embeds=torch.cat([prompt.expand(len(ids), -1, -1), embedded], 1))[:, -ids.shape[1] :]

    def _read_restarting(self, ids: Tensor, positions: Tensor) -> Tensor:
        """As `_read`, for rows of documents at whose starts positions [B, T] restart."""
        if self.kernel != "flash":
            return self._run(input_ids=ids, position_ids=positions)
        row = positions.reshape(1, -1)  # FlashAttention tells documents apart in one row only
        values = self._run(input_ids=ids.reshape(1, -1), position_ids=row, **attention.document_lengths(row[0]))
        found: Tensor = values[0].unflatten(0, ids.shape)
        return found

    def _run(self, **inputs: Any) -> Tensor:
        """Last hidden states or logits of the model."""
        found: Tensor
        if self.splits:
            found = self.model.get_decoder()(**inputs, use_cache=False).last_hidden_state
        else:
            found = adapters.reader(self.model)(**inputs, use_cache=False).logits
        return found

    @contextmanager
    def unpacked(self) -> Iterator[None]:
        """Context in which an example is a row, for what reads activations by the places of a batch."""
        width, self.width = self.width, None
        try:
            yield
        finally:
            self.width = width

    def under(self, batch: Batch, parameters: Mapping[str, Tensor]) -> Outputs:
        """Return `outputs` with other parameter values, in evaluation mode and without a graph.

        Args:
            batch: the batch.
            parameters: values of some of the model's parameters, by name.
        """
        device = batch.ids.device
        given = {f"model.{name}": value.to(device) for name, value in parameters.items()}
        with torch.no_grad(), evaluating(self.model):
            found: Outputs = torch.func.functional_call(_Outputs(self), given, (batch,))
        return found


class _Outputs(nn.Module):
    """Module around `TokenLoss.outputs`, because `functional_call` needs a module with the model as submodule."""

    def __init__(self, loss: TokenLoss) -> None:
        super().__init__()
        self.model, self.loss = loss.model, loss

    def forward(self, batch: Batch) -> Outputs:
        return self.loss.outputs(batch)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Context in which the model is in evaluation mode."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def autocast(device: str, precision: str) -> torch.autocast:
    """Context of bf16 autocast if the precision is `bf16`."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")
