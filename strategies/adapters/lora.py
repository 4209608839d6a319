"""Low-rank adaptation over a stream: what becomes of a task's adapter when the next task comes.

LoRA: Hu et al. 2021, arXiv 2106.09685, as peft has it. The four lives are what the continual-learning papers call
sequential, incremental, merged and per-task LoRA; their scores differ by tens of points, so each has its own name here.
"""

from __future__ import annotations

from typing import Any, Literal

from cl.errors import UserError
from cl.methods.method import Method
from cl.models import adapters


class Lora(Method):
    """Train low-rank updates scale * B @ A of linear modules instead of the weights.

    life: `continue`: one adapter learns every task; `stack`: each task adds its own, the older are frozen and summed
    (O-LoRA's setting); `merge`: the older are merged into the weights in fp32 before a fresh one is added (SEFE's);
    `alone`: each task learns its own on the base model and is tested with it, so nothing is forgotten and nothing is
    passed on: a reference that needs the task's identity at test, where data without an adapter get the base model.
    r: rank; alpha: scale is alpha / r (alpha / sqrt(r) for `rslora`); dropout: on the adapter's input; targets: names
    of linear modules, or `all-linear`, which leaves the output layer alone; variant: of peft.
    Weights are fp32; A is drawn anew for each adapter under the node's seed and B is 0, so a fresh one changes nothing.
    A state holds adapters only, and each opens with plain `PeftModel.from_pretrained`.
    Public code that this avoids: TRACE builds optimizer and schedule once for all tasks; official SEFE merges in fp16.
    """

    shardable = True

    def __init__(
        self,
        life: adapters.Life = "continue",
        r: int = 16,
        alpha: float = 32.0,
        dropout: float = 0.0,
        targets: str | list[str] = "all-linear",
        variant: Literal["lora", "dora", "rslora"] = "lora",
    ) -> None:
        super().__init__()
        if r < 1 or alpha <= 0 or not 0 <= dropout < 1:
            raise UserError(f"r {r} must be at least 1, alpha {alpha} above 0, dropout {dropout} in [0, 1)")
        self.life, self.r, self.alpha, self.dropout = life, r, alpha, dropout
        self.targets, self.variant = targets, variant

    def inert(self, t: int) -> tuple[str, ...]:
        """The first adapter is the same in every life."""
        return ("life",) if t <= 1 else ()

    def stands_on_base(self) -> bool:
        """Yes: a state holds adapters only."""
        return True

    def alone(self) -> bool:
        """In the life of that name."""
        return self.life == "alone"

    def prepare(self, model: Any, t: int) -> Any:
        """Give the model the adapter that stage t trains."""
        trained, name = adapters.names(model, "trained"), f"t{max(t, 1)}"  # a warm-up's is the first task's
        if name in trained or (trained and self.life == "continue"):  # a fork goes on with its trunk's adapter
            return model
        if self.life == "merge":
            model = adapters.merged(model)
        elif self.life == "alone":
            model = adapters.bare(model)
        return adapters.add(model, name, self.config())

    def config(self) -> Any:
        """The settings as peft's LoraConfig."""
        from peft import LoraConfig

        return LoraConfig(
            r=self.r,
            lora_alpha=self.alpha,  # type: ignore[arg-type]  # peft divides, whole or not
            lora_dropout=self.dropout,
            target_modules=self.targets,
            use_dora=self.variant == "dora",
            use_rslora=self.variant == "rslora",
            task_type="CAUSAL_LM",
        )
