"""A-GEM: project the gradient so that no step raises the loss of earlier tasks' examples.

Chaudhry et al. 2019, arXiv 1812.00420, equation 11. With the gradient g of the task loss and the gradient g_ref of
replayed examples:

    g  <-  g - (g . g_ref / |g_ref|^2) g_ref     where g . g_ref < 0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cl.methods.method import Step
from strategies.rehearsal.base import Rehearsal

if TYPE_CHECKING:
    from torch import Tensor


def project(gradient: Tensor, reference: Tensor) -> Tensor:
    """Remove the component of the gradient [n] that opposes the reference [n]; without a conflict keep the gradient."""
    import torch

    product = gradient @ reference
    return torch.where(
        product < 0, gradient - product / reference.square().sum().clamp(min=1e-30) * reference, gradient
    )


@dataclass(eq=False)
class AGEM(Rehearsal):
    """Project the gradient once per optimizer step, over all trained parameters together, before clipping.

    The replayed rows of the batch give g_ref and are not learned from otherwise. A step without a replayed row is not
    projected.

    Public code that this avoids: TRACE projects each tensor separately, onto the gradient of the last batch of each
    older task as it was at that time, which is neither GEM nor A-GEM.
    Deviation: the reference rows replace new rows instead of being added to them.

    Keeps between tasks: the examples that are replayed.
    """

    name = "a_gem"

    def after_backward(self, at: Step) -> None:
        """Project the gradient of the step."""
        import torch

        if at.taken is None:
            return
        trained = [parameter for parameter in at.model.parameters() if parameter.grad is not None]
        if not trained:  # all rows of the step are replayed ones: there is nothing to project
            return
        loss = at.loss(at.taken) / at.taken.learned()
        reference = torch.autograd.grad(loss, trained, allow_unused=True, materialize_grads=True)
        flat = torch.cat([parameter.grad.flatten() for parameter in trained])
        found = project(flat, torch.cat([gradient.flatten() for gradient in reference]))
        for parameter, part in zip(trained, found.split([p.numel() for p in trained]), strict=True):
            parameter.grad.copy_(part.view_as(parameter))
