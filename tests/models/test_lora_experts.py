"""Experts inside a low-rank adapter: gates by hand, and what dropout falls on."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from cl.models.lora_experts import Experts, gates


def test_gates_by_hand() -> None:
    found = gates(torch.tensor([[0.0, math.log(3.0)]]), 6)
    torch.testing.assert_close(found, torch.tensor([[0.25, 0.25, 0.25, 0.75, 0.75, 0.75]]))


def test_dropout_falls_on_the_experts_and_not_on_the_router() -> None:
    layer = Experts(torch.nn.Linear(6, 4, bias=False), torch.nn.Dropout(0.5), 2)
    x, seen = torch.randn(5, 6), []
    layer.router.register_forward_hook(lambda module, given, out: seen.append(given[0]))
    torch.manual_seed(1)
    found = layer(x)
    torch.manual_seed(1)
    assert torch.equal(found, F.linear(F.dropout(x, 0.5), layer.weight) * gates(layer.router(x), 4))
    assert torch.equal(seen[0], x)
