"""AdamW of bf16 parameters whose updates are rounded at random (`model.weights: bf16`)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw


def rounded(values: Tensor) -> Tensor:
    """Round to one of the two nearest bf16 values at random, with the exact value as mean.

    A value between two neighbours is rounded up with probability (value - lower) / (upper - lower). So an update that
    is much smaller than the step between neighbours is not lost, as it is in rounding to the nearest (Zamirai et al.
    2020, arXiv 2010.06192, section 3.2).

    Args:
        values: finite fp32 values of any shape.
    """
    bits = values.view(torch.int32)
    noise = torch.randint(0, 1 << 16, bits.shape, dtype=torch.int32, device=bits.device)
    return ((bits + noise) & -(1 << 16)).view(torch.float32).bfloat16()


class StochasticAdamW(torch.optim.Optimizer):
    """AdamW of torch with moments and update in fp32; parameters are read and rounded one at a time.

    A parameter takes 12 bytes a weight, with its gradient and moments, where fp32 takes 16.

    Args:
        groups: groups of bf16 parameters, each with its own weight decay.
        lr: learning rate.
        betas: decay rates of the moments.
        eps: added to the root of the second moment.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update each parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state |= {name: torch.zeros_like(parameter, dtype=torch.float32) for name in ("exp_avg", "exp_avg_sq")}
        values = parameter.float()
        assert parameter.grad is not None
        adamw(
            [values],
            [parameter.grad.float()],
            [state["exp_avg"]],
            [state["exp_avg_sq"]],
            [],
            [state["step"]],
            foreach=False,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )
        parameter.copy_(rounded(values))
