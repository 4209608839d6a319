"""The optimizer of all training: AdamW."""

from __future__ import annotations

import torch
from torch import nn

from cl.config.train import Optimization


def build_optimizer(model: nn.Module, train: Optimization) -> torch.optim.AdamW:
    """AdamW (arXiv 2403.08763, section 3) with weight decay on tensors of two or more dimensions only.

    The learning rate of a parameter with an attribute `lr_factor` is multiplied by it.
    """
    trained: dict[float, list[nn.Parameter]] = {1.0: []}
    for p in model.parameters():
        if p.requires_grad:
            trained.setdefault(getattr(p, "lr_factor", 1.0), []).append(p)
    groups = [
        {"params": [p for p in own if (p.ndim >= 2) == matrices], "weight_decay": decay, "lr_factor": factor}
        for factor, own in trained.items()
        for matrices, decay in ((True, train.weight_decay), (False, 0.0))
    ]
    return torch.optim.AdamW(groups, lr=train.lr, betas=train.betas, eps=train.eps, fused=True)
