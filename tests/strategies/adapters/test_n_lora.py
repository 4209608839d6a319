"""N-LoRA: the norm by hand, in the paper's and in the code's form."""

from __future__ import annotations

import pytest
import torch

from cl.errors import UserError
from strategies.adapters.n_lora import NLora, sparsity

A = torch.tensor([[[1.0, -2.0]]])  # [1, r = 1, in = 2]
B = torch.tensor([[[3.0], [0.5]]])  # [1, out = 2, r = 1]


def test_by_hand() -> None:
    # B A = [[3, -6], [0.5, -1]]; A B = [[1 * 3 - 2 * 0.5]] = [[2]]
    assert float(sparsity(A, B, "paper")) == 10.5
    assert float(sparsity(A, B, "code")) == 2.0


def test_the_code_s_form_can_vanish_where_the_update_does_not() -> None:
    assert float(sparsity(A, torch.tensor([[[4.0], [2.0]]]), "code")) == 0.0
    assert float(sparsity(A, torch.tensor([[[4.0], [2.0]]]), "paper")) == 18.0


def test_modules_of_one_shape_are_one_product() -> None:
    assert float(sparsity(torch.cat([A, A]), torch.cat([B, 2 * B]))) == pytest.approx(31.5)


def test_active_where_it_acts() -> None:
    assert NLora().active(1)
    assert not NLora(weight=0.0).active(2)
    assert NLora(weight=0.0).validate([])
    with pytest.raises(UserError, match="weight: -1 must be at least 0"):
        NLora(weight=-1)
