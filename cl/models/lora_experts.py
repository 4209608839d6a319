"""Experts inside a low-rank adapter: its rank is shared out among them, and a router says how much each one counts.

    y = W x + scale * sum over experts e of  softmax(W_g x)_e  B_e A_e x

With A [r, in] and B [out, r] of the whole adapter, expert e has r / experts rows of A and as many columns of B, so the
sum is B @ (gates * (A @ x)) with each expert's gate repeated: peft's own layer with another A. It depends on the token,
so no change of the weights can stand for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

ROUTER = ".router.weight"  # peft stores it in the adapter's file, and plain peft leaves it out without a word


def gates(scores: Tensor, rank: int) -> Tensor:
    """Softmax over the experts' scores [..., E] in fp32, each gate repeated for the rank of its expert: [..., rank]."""
    return scores.softmax(-1, dtype=torch.float32).repeat_interleave(rank // scores.shape[-1], -1)


class Experts(nn.Module):
    """The A of an adapter's module, its outputs weighed by the gates of their experts; dropout spares the router."""

    def __init__(self, a: nn.Linear, dropout: nn.Module, experts: int) -> None:
        super().__init__()
        self.weight, self.dropout = a.weight, dropout
        self.router = nn.Linear(a.in_features, experts, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """A @ x times the gates: [..., in] -> [..., r]."""
        return F.linear(self.dropout(x), self.weight) * gates(self.router(x), len(self.weight))


def route(model: Any, name: str, experts: int) -> None:
    """Make experts of an adapter, in each of its modules; routers are drawn anew."""
    for module in _layers(model, name).values():
        module.lora_A[name] = Experts(module.lora_A[name], module.lora_dropout[name], experts)
        module.lora_dropout[name] = nn.Identity()


def restore(model: Any, name: str, folder: Path) -> None:
    """Make experts of an adapter that was just opened, where its folder says so."""
    with safe_open(folder / "adapter_model.safetensors", "pt") as stored:
        keys = [key for key in stored.keys() if key.endswith(ROUTER)]  # noqa: SIM118  # not a mapping
        routers = {key.partition(".lora_A.")[0]: stored.get_tensor(key) for key in keys}
    if not routers:
        return
    route(model, name, len(next(iter(routers.values()))))
    for path, module in _layers(model, name).items():
        module.lora_A[name].router.weight.data.copy_(routers[path])


def present(model: nn.Module) -> bool:
    """Whether any module of the model has experts."""
    return any(isinstance(module, Experts) for module in model.modules())


def _layers(model: nn.Module, name: str) -> dict[str, Any]:
    return {path: module for path, module in model.named_modules() if name in getattr(module, "lora_A", {})}
