"""Experts inside a low-rank adapter: the rank is divided among experts, and a router weights the experts per token.

    y = W x + scale * sum over experts e of  softmax(W_g x)_e  B_e A_e x

The whole adapter has A [r, in] and B [out, r]; expert e has r / experts rows of A and as many columns of B. So the sum
is B @ (gates * (A @ x)) with each expert's gate repeated: peft's layer with a different A. The update depends on the
token, so it cannot be merged into the weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

ROUTER = ".router.weight"  # in the adapter's file; plain peft silently ignores it when it loads the adapter


def gates(scores: Tensor, rank: int) -> Tensor:
    """Gates: softmax over the experts' scores in fp32, each gate repeated for the rank of its expert.

    Args:
        scores: router scores [..., E].
        rank: rank of the whole adapter.

    Returns:
        Gates [..., rank].
    """
    return scores.softmax(-1, dtype=torch.float32).repeat_interleave(rank // scores.shape[-1], -1)


class Experts(nn.Module):
    """Replaces A of an adapter's module: A x times the gates of the experts. Dropout does not apply to the router.

    Args:
        a: the module's A.
        dropout: dropout on the input of A.
        experts: number of experts.
    """

    def __init__(self, a: nn.Linear, dropout: nn.Module, experts: int) -> None:
        super().__init__()
        self.weight, self.dropout = a.weight, dropout
        self.router = nn.Linear(a.in_features, experts, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """A @ x times the gates: [..., in] -> [..., r]."""
        return F.linear(self.dropout(x), self.weight) * gates(self.router(x), len(self.weight))


def route(model: Any, name: str, experts: int) -> None:
    """Divide an adapter into experts in each of its modules, with freshly drawn routers."""
    for module in _layers(model, name).values():
        module.lora_A[name] = Experts(module.lora_A[name], module.lora_dropout[name], experts)
        module.lora_dropout[name] = nn.Identity()


def restore(model: Any, name: str, folder: Path) -> None:
    """Divide a freshly loaded adapter into experts with stored routers, if its folder holds routers."""
    with safe_open(folder / "adapter_model.safetensors", "pt") as stored:
        keys = [key for key in stored.keys() if key.endswith(ROUTER)]  # noqa: SIM118  # not a mapping
        routers = {key.partition(".lora_A.")[0]: stored.get_tensor(key) for key in keys}
    if not routers:
        return
    route(model, name, len(next(iter(routers.values()))))
    for path, module in _layers(model, name).items():
        module.lora_A[name].router.weight.data.copy_(routers[path])


def stored(folder: Path) -> bool:
    """Whether an adapter's folder holds experts."""
    file = folder / "adapter_model.safetensors"
    if not file.exists():
        return False
    with safe_open(file, "pt") as found:
        return any(key.endswith(ROUTER) for key in found.keys())  # noqa: SIM118  # not a mapping


def present(model: nn.Module) -> bool:
    """Whether any module of the model has experts."""
    return any(isinstance(module, Experts) for module in model.modules())


def _layers(model: nn.Module, name: str) -> dict[str, Any]:
    return {path: module for path, module in model.named_modules() if name in getattr(module, "lora_A", {})}
