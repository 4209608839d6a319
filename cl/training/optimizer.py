"""The optimizer of all training: AdamW."""

from __future__ import annotations

import torch
from torch import nn

from cl.config.train import Optimization


def build_optimizer(model: nn.Module, train: Optimization) -> torch.optim.AdamW:
    """AdamW (arXiv 2403.08763, section 3) with weight decay on tensors of two or more dimensions only.

    A parameter's attributes `lr_factor`, which multiplies the rate, and `weight_decay`, which replaces that of the
    experiment, are set by methods.
    """
    trained: dict[tuple[float, float], list[nn.Parameter]] = {(1.0, train.weight_decay): []}
    for p in model.parameters():
        if p.requires_grad:
            key = getattr(p, "lr_factor", 1.0), getattr(p, "weight_decay", train.weight_decay)
            trained.setdefault(key, []).append(p)
    groups = [
        {"params": [p for p in own if (p.ndim >= 2) == matrices], "weight_decay": decay, "lr_factor": factor}
        for (factor, whole), own in trained.items()
        for matrices, decay in ((True, whole), (False, 0.0))
    ]
    return torch.optim.AdamW(groups, lr=train.lr, betas=train.betas, eps=train.eps, fused=True)
