"""MAS: importance by hand, and what the output's common offset must not do."""

from __future__ import annotations

import torch
from torch import nn

from cl.data.batches import Batch
from cl.data.rows import IGNORE
from cl.models.forward import TokenLoss
from cl.models.losses import Outputs
from strategies.penalties.mas import MAS, output_norm
from tests.support.methods import learned_of
from tests.support.training import SEPARATOR, tiny


def test_output_norm_by_hand() -> None:
    logits = torch.tensor([[1.0, 3.0], [0.0, 4.0]])
    assert float(output_norm(logits)) == 5.0  # centred (-1, 1) and (-2, 2): (2 + 8) / 2
    assert float(output_norm(logits + 100.0)) == 5.0  # an offset changes no probability


class Scale(nn.Module):
    """Logits (0, w * id) for each input id."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([2.0]))

    def outputs(self, batch: Batch) -> Outputs:
        """Logits at the learned tokens of a batch."""
        targets = (batch.ids[:, 1:] if batch.targets is None else batch.targets).flatten()
        x = self.w * batch.ids[:, :-1].flatten()[targets != IGNORE]
        return Outputs(torch.stack([torch.zeros_like(x), x], -1), None, targets[targets != IGNORE])


def omega(batches: list[Batch]) -> list[float]:
    model = Scale()
    learned = learned_of(model, batches, outputs=model.outputs)
    return MAS().importance(learned, dict(model.named_parameters()))["w"].tolist()


def test_importance_by_hand() -> None:
    # ||centred (0, w x)||^2 = w^2 x^2 / 2, derivative w x^2: 2 * 1 and 2 * 9, mean 10
    rows = [Batch(torch.tensor([[1, 5]]), None), Batch(torch.tensor([[3, 5]]), None)]
    assert omega(rows) == [10.0]


def test_only_learned_tokens_count() -> None:
    batch = Batch(torch.tensor([[1, 3, 5]]), torch.tensor([[IGNORE, 7]]))
    assert omega([batch]) == [18.0]


def test_labels_play_no_part() -> None:
    one, other = (Batch(torch.tensor([[1, 3, 5]]), torch.tensor([targets])) for targets in ([4, 7], [9, 9]))
    assert omega([one]) == omega([other])


def test_neutral_is_not_there_at_all() -> None:
    assert not MAS(weight=0.0).active(2)
    assert MAS(weight=0.0).validate([])


def test_documents_of_a_row_are_apart_as_in_training() -> None:
    """The importance of a row of two documents is that of the gradients of both alone, added up."""
    model = tiny().eval()
    loss, parameters = TokenLoss(model, SEPARATOR, boundaries=True), dict(model.named_parameters())
    row = torch.tensor([[SEPARATOR, 7, 9, 4, SEPARATOR, 8, 3, 5, SEPARATOR]])
    parts = [row[:, :5], row[:, 4:]]

    def gradients(ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits[0]
        return torch.autograd.grad(output_norm(logits), list(parameters.values()))

    found = MAS().importance(learned_of(model, [Batch(row, None)], outputs=loss.outputs), parameters)
    for name, first, second in zip(parameters, *map(gradients, parts), strict=True):
        torch.testing.assert_close(found[name], ((first + second) / 2).abs(), rtol=1e-4, atol=1e-6)
