"""OSF: full fine-tuning outside the leading singular directions of the weights, which hold what was learned before.

Nayak et al. 2025 ("Sculpting Subspaces"), arXiv 2504.07097, as peft has it (Orthogonal Subspace Fine-tuning). At the
start of each stage, for each weight W [out, in] with its k = int(share * min(out, in)) leading singular triplets apart:

    W = U_high S_high V_high + U_low S_low V_low      trained: U_low, S_low, V_low; the rest is frozen
    grad U_low <- (I - U_high U_high^T) grad U_low,   grad V_low <- grad V_low (I - V_high^T V_high)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cl.errors import UserError
from cl.methods.method import Method, Stage
from cl.models import adapters

NAME = "osf"
Project = Literal["gradients", "factors"]


def preserved(preserve: float, grow: float, t: int) -> float:
    """Share of each weight's directions that stage t preserves; a warm-up (t = 0) as much as the first."""
    return round(preserve + grow * (max(t, 1) - 1), 6)  # without the dust of a sum


def outside(factor_NR: Tensor, basis_NK: Tensor, complement: bool) -> Tensor:
    """The part of a factor's columns that is orthogonal to the preserved directions.

    basis: orthonormal, of these directions, or (`complement`) of all others.
    """
    inside = basis_NK @ (basis_NK.T @ factor_NR)
    return inside if complement else factor_NR - inside


class Outside(nn.Module):
    """`outside` for a trained factor of peft's layer, U_low [out, r] or, lying, V_low [r, in], or for its gradient."""

    def __init__(self, layer: Any, name: str) -> None:
        super().__init__()
        self.lies = name == "V_low"
        self.basis = partial(_basis, layer, name)  # not a tensor yet: the layer moves to its device

    def forward(self, factor: Tensor) -> Tensor:
        """The factor's part, in fp32 whatever the precision of the model."""
        with torch.autocast(factor.device.type, enabled=False):
            if self.lies:
                return outside(factor.T, *self.basis()).T
            return outside(factor, *self.basis())


def _basis(layer: Any, name: str) -> tuple[Tensor, bool]:
    """Preserved directions of a factor; where it is square peft keeps all others in their place, as the flag says."""
    if name == "V_low":
        high, low = layer._osf_V_high, layer._osf_V_low_init
        return (high[NAME].T, False) if NAME in high else (low[NAME].T, True)
    high, low = layer._osf_U_high, layer._osf_U_low_init
    return (high[NAME], False) if NAME in high else (low[NAME], True)


def hold(layer: Any, project: Project) -> None:
    """Keep the trained factors of peft's layer, or their gradients alone, outside the preserved directions.

    In place of peft's hooks, which give a gradient of bf16 to a factor of fp32 where the model runs in bf16.
    """
    layer._detach_hooks()
    factors = layer.osf_svd_params[NAME]
    for name in ("U_low", "V_low"):
        if project == "factors":
            nn.utils.parametrize.register_parametrization(factors, name, Outside(layer, name))
        else:
            factors[name].register_hook(Outside(layer, name))


class OSF(Method):
    """Train the trailing singular triplets of each weight, orthogonal to the leading ones; each stage decomposes anew.

    preserve: share of the directions that the first task leaves alone, the `effective_rank` of peft, whose default is
    0.5 (it is the preserved rank, not the trained one); grow: added for each further task. peft's recipe for n tasks is
    preserve 0 and grow 1 / n: then the first task is plain full fine-tuning, and its node. targets: names of linear
    modules, or `all-linear`; all else is frozen. project: `gradients`, as paper and peft do, or `factors`.
    Trap: AdamW scales each entry of a projected gradient, and so leaves the subspace: on our toy 13 to 18 % of the norm
    of an update lie in the preserved directions, 0 with SGD. With `factors` the model never uses that part, at the
    price of two products with a basis per factor and pass. train.weight_decay shrinks U_low and V_low, and so what is
    in the trained directions. Use a small learning rate (peft: 1e-5 to 1e-4), and list it after the schedule.
    Deviations of peft from the paper, kept: one share for all modules, where the paper weighs layers by how little they
    change their input (second hand); embeddings, norms and output layer do not learn.
    Public code that this avoids: peft's recipe for streams unwraps the model by `unload()`, which (0.21) gives back the
    weights of before the task; here they are merged, in fp32. Its hooks fail under mixed precision; ours do not.
    Keeps between tasks: nothing, a state is a plain model; while training, W and twice the trained factors. Cost: one
    singular value decomposition per module and task.
    """

    def __init__(
        self,
        preserve: float = 0.5,
        grow: float = 0.05,
        targets: str | list[str] = "all-linear",
        project: Project = "gradients",
    ) -> None:
        super().__init__()
        if not 0 <= preserve < 1 or not 0 <= grow < 1:
            raise UserError(f"preserve {preserve} and grow {grow} must be shares from 0 to below 1")
        self.preserve, self.grow, self.targets, self.project = preserve, grow, targets, project

    def share(self, t: int) -> float:
        """What stage t preserves."""
        return preserved(self.preserve, self.grow, t)

    def active(self, t: int) -> bool:
        """Not where nothing is preserved."""
        return self.share(t) > 0

    def inert(self, t: int) -> tuple[str, ...]:
        """The first task does not grow."""
        return ("grow",) if t <= 1 else ()

    def check(self, others: Sequence[Method]) -> None:
        """Not beside a method that keeps the optimizer's state: its factors are others in each stage."""
        if any(other.keep_optimizer() for other in others):
            raise UserError("each stage trains other parameters; take optimizer_state: keep out")

    def warnings(self) -> list[str]:
        """Settings under which nothing is preserved."""
        return [] if self.preserve or self.grow else ["preserve 0 and grow 0 are equivalent to full fine-tuning"]

    def stages(self, stages: list[Stage]) -> list[Stage]:
        """The stream as it is. Raises UserError where a stage could learn nothing, or would decompose in its middle."""
        last = max(stage.t for stage in stages)
        if self.share(last) >= 1:
            most = f"below {(1 - self.preserve) / (last - 1):.2g}"
            raise UserError(f"osf: grow: {self.grow} leaves nothing to learn in stage {last}; take one {most}")
        if any(stage.continues for stage in stages):
            raise UserError("osf: a stage that is split would change its directions in the middle; take rewarm_cosine")
        return stages

    def prepare(self, model: Any, t: int) -> Any:
        """Decompose the weights. Raises UserError where there are adapters, or nothing could be preserved."""
        from peft import OSFConfig, PeftModel
        from peft.tuners.osf import OSFLayer

        if adapters.uses(model):
            raise UserError("osf: trains the weights themselves; leave methods that add adapters out")
        config = OSFConfig(effective_rank=self.share(t), target_modules=self.targets, task_type="CAUSAL_LM")
        try:
            model = PeftModel(model, config, NAME)
        except ValueError as error:
            problem = " ".join(str(error).split())
            raise UserError(f"osf: preserve {self.share(t)} of {self.targets}: {problem}; change one") from error
        for module in model.modules():
            if isinstance(module, OSFLayer):
                hold(module, self.project)
        return model
