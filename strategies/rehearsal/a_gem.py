"""A-GEM: never step in a direction in which the loss on earlier tasks' examples rises.

Chaudhry et al. 2019, arXiv 1812.00420, equation 11. With the gradient g of the task loss and g_ref of replayed
examples:

    g  <-  g - (g . g_ref / |g_ref|^2) g_ref     where g . g_ref < 0
"""

from __future__ import annotations

import torch
from torch import Tensor

from cl.methods.method import Step
from strategies.rehearsal.base import Rehearsal


def project(gradient: Tensor, reference: Tensor) -> Tensor:
    """The gradient without its part against the reference, both [n]; as it is where they do not conflict."""
    product = gradient @ reference
    return torch.where(
        product < 0, gradient - product / reference.square().sum().clamp(min=1e-30) * reference, gradient
    )


class AGEM(Rehearsal):
    """Project the gradient once per optimizer step, over all trained parameters, before clipping.

    The replayed rows of the batch give g_ref and are not learned from otherwise; a step without one is not projected.
    Public code that this avoids: TRACE projects each tensor by itself, onto the gradient of the last batch of each
    older task as it was then, which is neither GEM nor A-GEM.
    Deviation: the reference rows replace new ones instead of coming on top.
    Keeps between tasks: the examples that are replayed.
    """

    name = "a_gem"

    def after_backward(self, at: Step) -> None:
        """Project."""
        if at.taken is None:
            return
        trained = [parameter for parameter in at.model.parameters() if parameter.grad is not None]
        loss = at.loss(at.taken) / at.taken.learned()
        reference = torch.autograd.grad(loss, trained, allow_unused=True, materialize_grads=True)
        flat = torch.cat([parameter.grad.flatten() for parameter in trained])
        found = project(flat, torch.cat([gradient.flatten() for gradient in reference]))
        for parameter, part in zip(trained, found.split([p.numel() for p in trained]), strict=True):
            parameter.grad.copy_(part.view_as(parameter))
