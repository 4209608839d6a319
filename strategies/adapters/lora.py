"""Low-rank adaptation over a stream: four lives of a task's adapter when the next task starts.

LoRA: Hu et al. 2021, arXiv 2106.09685, in peft's implementation. The continual-learning papers call the four lives
sequential, incremental, merged and per-task LoRA. Their scores differ by tens of points, so each has its own name here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from cl.errors import UserError
from cl.methods.method import Method, PlansStages, Trains

if TYPE_CHECKING:
    from cl.models.pretrained import Outline

Life = Literal["continue", "stack", "merge", "alone"]


@dataclass(eq=False)
class Lora(Trains):
    """Train low-rank updates scale * B @ A of linear modules instead of the weights.

    Args:
        life: what happens to the adapter when the next task starts: `continue`, `stack`, `merge` or `alone`.
        r: rank.
        alpha: sets the scale of the update: alpha / r, or alpha / sqrt(r) for `rslora`.
        dropout: dropout rate on the adapter's input, in [0, 1).
        targets: names of linear modules, a regular expression, or `all-linear`, which adapts neither the output layer
            nor routers; experts that are stored as one tensor are not linear modules and stay as they are.
        variant: variant of peft: `lora`, `dora` or `rslora`.
        embeddings: also train input embeddings and output layer, as new tokens need; the state holds them whole.
        weight_decay: decay of the factors in place of `train.weight_decay`; 0 in the scripts of the papers.

    Lives:

    - `continue`: one adapter learns every task;
    - `stack`: each task adds its own adapter; the older ones are frozen and summed (O-LoRA's setting);
    - `merge`: the older adapters are merged into the weights in fp32 before a fresh one is added (SEFE's setting);
    - `alone`: each task trains its own adapter on the base model and is tested with it, so nothing is forgotten and no
      knowledge is transferred. This is a reference that needs the task's identity at test; data without an adapter are
      answered by the base model.

    Weights are fp32. A is drawn anew for each adapter under the node's seed and B is 0, so a fresh adapter changes
    nothing. A state holds adapters only, and each adapter opens with plain `PeftModel.from_pretrained`.

    Public code that this avoids: TRACE builds optimizer and schedule once for all tasks; official SEFE merges in fp16.

    Keeps between tasks: one adapter (`continue`), or an adapter per task.
    """

    shardable: ClassVar[bool] = True
    adds_parameters: ClassVar[bool] = True
    freezes_weights: ClassVar[bool] = True

    life: Life = "continue"
    r: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: str | list[str] = "all-linear"
    variant: Literal["lora", "dora", "rslora"] = "lora"
    embeddings: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.r < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            wrong = f"r {self.r} must be at least 1, alpha {self.alpha} above 0, dropout {self.dropout} in [0, 1)"
            raise UserError(wrong)
        if self.embeddings and self.life == "stack":
            raise UserError("embeddings: adapters of life stack are summed, and embeddings are not; use another life")
        if self.weight_decay < 0:
            raise UserError(f"weight_decay: {self.weight_decay} must be at least 0")

    @property
    def adapter(self) -> Literal["shared", "per_task"]:
        """States hold adapters; in life `alone` each task is answered with its own."""
        return "per_task" if self.life == "alone" else "shared"

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Refuse the optimizer state of an adapter that is no longer trained."""
        if self.life != "continue" and any(isinstance(o, PlansStages) and o.carries_optimizer() for o in others):
            raise UserError(f"life: {self.life} trains a fresh adapter in each task; take optimizer_state: keep out")
        return []

    def inactive_settings(self, t: int) -> tuple[str, ...]:
        """The first adapter is the same in every life."""
        return ("life",) if t <= 1 else ()

    def suits(self, outline: Outline) -> None:
        """Refuse targets that the model does not have; fresh models have those of the default."""
        if self.targets != "all-linear" or outline.origin == "directory":
            from cl.models import linear_modules

            linear_modules.names(outline.model, self.targets)

    def prepare(self, model: Any, t: int) -> Any:
        """Add the adapter that stage t trains, if the model does not have it yet."""
        from cl.models import adapters

        trained, name = adapters.names(model, "trained"), f"t{max(t, 1)}"  # a warm-up trains the first task's adapter
        if name not in trained and not (trained and self.life == "continue"):  # a fork continues with its trunk's
            model = self._with_fresh(model, name)
        self.set_decay(model)
        return model

    def set_decay(self, model: Any) -> None:
        """Give the trained parameters their weight decay, which `cl.training.optimizer.build_optimizer` reads."""
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.weight_decay = self.weight_decay

    def _with_fresh(self, model: Any, name: str) -> Any:
        """Add a fresh adapter."""
        from cl.models import adapters

        if self.life == "merge":
            model = adapters.merged(model)
        elif self.life == "alone":
            model = adapters.bare(model)
        return adapters.add(model, name, self.config(model))

    def config(self, model: Any) -> Any:
        """Return the settings as peft's LoraConfig for a model."""
        from peft import LoraConfig

        from cl.models import linear_modules

        return LoraConfig(
            r=self.r,
            lora_alpha=self.alpha,  # type: ignore[arg-type]  # peft divides, whole or not
            lora_dropout=self.dropout,
            target_modules=linear_modules.names(model, self.targets),
            use_dora=self.variant == "dora",
            use_rslora=self.variant == "rslora",
            modules_to_save=linear_modules.ends(model) if self.embeddings else None,
            ensure_weight_tying=self.embeddings and bool(model.config.tie_word_embeddings),
            task_type="CAUSAL_LM",
        )
