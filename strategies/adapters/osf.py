"""OSF: full fine-tuning orthogonal to the leading singular directions of the weights, which hold earlier knowledge.

Nayak et al. 2025 ("Sculpting Subspaces"), arXiv 2504.07097, in peft's implementation (Orthogonal Subspace Fine-tuning).
At the start of each stage each weight W [out, in] is split after its k = int(share * min(out, in)) leading singular
triplets:

    W = U_high S_high V_high + U_low S_low V_low      trained: U_low, S_low, V_low; the rest is frozen
    grad U_low <- (I - U_high U_high^T) grad U_low,   grad V_low <- grad V_low (I - V_high^T V_high)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from cl.errors import UserError
from cl.methods.method import Method, PlansStages, Stage, Trains

if TYPE_CHECKING:
    from cl.models.pretrained import Outline


def preserved(preserve: float, grow: float, t: int) -> float:
    """Share of each weight's directions that stage t preserves; a warm-up (t = 0) preserves as many as the first."""
    return round(preserve + grow * (max(t, 1) - 1), 6)  # without the rounding error of a sum


@dataclass(eq=False)
class OSF(PlansStages, Trains):
    """Train the trailing singular triplets of each weight, orthogonal to the leading ones.

    Args:
        preserve: share of the directions that the first task preserves: the `effective_rank` of peft (default 0.5).
        grow: increase of this share for each further task.
        targets: names of linear modules, or `all-linear`; everything else is frozen.
        project: what is projected: `gradients`, as in the paper and peft, or `factors`.

    Each stage decomposes the weights anew. peft's `effective_rank` is the preserved rank, not the trained one. peft's
    recipe for n tasks is preserve 0 and grow 1 / n: then the first task is plain full fine-tuning, and shares its node.
    Use a small learning rate (peft: 1e-5 to 1e-4), and list the method after the schedule.

    Trap: AdamW scales each entry of a projected gradient, and so leaves the subspace: on our toy model 13 to 18 % of
    the norm of an update lie in the preserved directions, 0 with SGD. With `factors` the model never uses that part, at
    the cost of two products with a basis per factor and pass. train.weight_decay shrinks U_low and V_low, and so the
    weight in the trained directions.
    Deviations of peft from the paper, kept: one share for all modules, where the paper weighs layers by how little they
    change their input (second hand); embeddings, norms and output layer are not trained.
    Public code that this avoids: peft's recipe for streams unwraps the model by `unload()`, which in peft 0.21 returns
    the weights from before the task; here the factors are merged, in fp32. peft's hooks fail under mixed precision;
    ours do not.

    Keeps between tasks: nothing, a state is a plain model; while training, W and twice the trained factors.
    Cost: one singular value decomposition per module and task.
    """

    adds_parameters: ClassVar[bool] = True

    preserve: float = 0.5
    grow: float = 0.05
    targets: str | list[str] = "all-linear"
    project: Literal["gradients", "factors"] = "gradients"

    def __post_init__(self) -> None:
        if not 0 <= self.preserve < 1 or not 0 <= self.grow < 1:
            raise UserError(f"preserve {self.preserve} and grow {self.grow} must be shares from 0 to below 1")

    def share(self, t: int) -> float:
        """Share of the directions that stage t preserves."""
        return preserved(self.preserve, self.grow, t)

    def active(self, t: int) -> bool:
        """Do not act in a stage that preserves nothing."""
        return self.share(t) > 0

    def inactive_settings(self, t: int) -> tuple[str, ...]:
        """`grow` has no effect in the first task."""
        return ("grow",) if t <= 1 else ()

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Refuse a carried optimizer state, since each stage has other factors; warn if nothing is preserved."""
        if any(isinstance(other, PlansStages) and other.carries_optimizer() for other in others):
            raise UserError("each stage trains other parameters; take optimizer_state: keep out")
        return [] if self.preserve or self.grow else ["preserve 0 and grow 0 are equivalent to full fine-tuning"]

    def stages(self, stages: list[Stage]) -> list[Stage]:
        """Return the stream unchanged.

        Raises:
            UserError: if a stage could learn nothing, or would be decomposed in its middle.
        """
        last = max(stage.t for stage in stages)
        if self.share(last) >= 1:
            most = f"below {(1 - self.preserve) / (last - 1):.2g}"
            raise UserError(f"osf: grow: {self.grow} leaves nothing to learn in stage {last}; take one {most}")
        if any(stage.continues for stage in stages):
            raise UserError("osf: a stage that is split would change its directions in the middle; take rewarm_cosine")
        return stages

    def suits(self, outline: Outline) -> None:
        """Refuse a model without plain linear modules, and targets that it does not have."""
        if self.targets != "all-linear" or outline.origin == "directory":
            from cl.models import linear_modules

            linear_modules.names(outline.model, self.targets, convolutions=False)

    def prepare(self, model: Any, t: int) -> Any:
        """Decompose the weights.

        Raises:
            UserError: if the model has adapters, or no direction could be preserved.
        """
        from peft import OSFConfig, PeftModel
        from peft.tuners.osf import OSFLayer

        from cl.models import adapters, linear_modules
        from strategies.adapters.orthogonal_factors import NAME, hold

        if adapters.uses(model):
            raise UserError("osf: trains the weights themselves; leave methods that add adapters out")
        targets = linear_modules.names(model, self.targets, convolutions=False)
        config = OSFConfig(effective_rank=self.share(t), target_modules=targets, task_type="CAUSAL_LM")
        try:
            model = PeftModel(model, config, NAME)
        except ValueError as error:
            problem = " ".join(str(error).split())
            raise UserError(f"osf: preserve {self.share(t)} of {self.targets}: {problem}; change one") from error
        for module in model.modules():
            if isinstance(module, OSFLayer):
                hold(module, factors=self.project == "factors")
        return model
