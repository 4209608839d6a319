"""OSF's projection: keep the trained factors of peft's layers orthogonal to the preserved singular directions.

Shapes: N rows of a factor, R trained directions, K preserved ones.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

NAME = "osf"
"""Name of the adapter under which peft keeps the factors."""


def outside(factor_NR: Tensor, basis_NK: Tensor, complement: bool) -> Tensor:
    """Component of a factor's columns that is orthogonal to the preserved directions.

    Args:
        factor_NR: the factor.
        basis_NK: orthonormal basis of the preserved directions, or with `complement` of all other directions.
        complement: whether `basis_NK` spans the directions that are not preserved.
    """
    inside = basis_NK @ (basis_NK.T @ factor_NR)
    return inside if complement else factor_NR - inside


class Outside(nn.Module):
    """`outside` for a trained factor of peft's layer, U_low [out, r] or V_low [r, in], or for its gradient.

    Args:
        layer: peft's layer.
        name: name of the factor: `U_low`, or `V_low`, which is stored transposed.
    """

    def __init__(self, layer: Any, name: str) -> None:
        super().__init__()
        self.transposed = name == "V_low"
        self.basis = partial(_basis, layer, name)  # not a tensor yet: the layer moves to its device

    def forward(self, factor: Tensor) -> Tensor:
        """Project the factor, in fp32 whatever the precision of the model."""
        with torch.autocast(factor.device.type, enabled=False):
            if self.transposed:
                return outside(factor.T, *self.basis()).T
            return outside(factor, *self.basis())


def _basis(layer: Any, name: str) -> tuple[Tensor, bool]:
    """Preserved directions of a factor. If it is square, peft stores all other directions instead: then True."""
    if name == "V_low":
        high, low = layer._osf_V_high, layer._osf_V_low_init
        return (high[NAME].T, False) if NAME in high else (low[NAME].T, True)
    high, low = layer._osf_U_high, layer._osf_U_low_init
    return (high[NAME], False) if NAME in high else (low[NAME], True)


def hold(layer: Any, factors: bool) -> None:
    """Keep a layer's trained factors, or only their gradients, orthogonal to the preserved directions.

    This replaces peft's hooks, which give a gradient of bf16 to a factor of fp32 if the model runs in bf16.

    Args:
        layer: peft's layer.
        factors: project the factors themselves; otherwise their gradients.
    """
    layer._detach_hooks()
    trained = layer.osf_svd_params[NAME]
    for name in ("U_low", "V_low"):
        if factors:
            nn.utils.parametrize.register_parametrization(trained, name, Outside(layer, name))
        else:
            trained[name].register_hook(Outside(layer, name))
