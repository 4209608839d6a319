"""MoELoRA: one adapter whose rank is divided among experts, which a router weighs for each token.

Chen et al. 2024 (CoIN), arXiv 2403.08350, section 4, and its code, read in the repository `zackschen/CoIN`
(`CoIN/peft/tuners/coinmoelora.py`):

    y = W x + alpha / r * sum over experts e of  softmax(W_g x)_e  B_e A_e x      A_e [r / experts, in], B_e [out, ...]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from cl.errors import UserError
from cl.methods.method import Method, Trains
from strategies.adapters.lora import Lora

if TYPE_CHECKING:
    from cl.models.pretrained import Outline


@dataclass(eq=False)
class MoeLora(Trains):
    """Train one adapter of experts over the whole stream.

    Args:
        experts: number of experts; it must divide `r`. CoIN uses 8.
        r: total rank, divided evenly among the experts. CoIN uses 128.
        alpha: sets the scale of the update: alpha / r, with the total rank. CoIN uses 256.
        dropout: dropout rate on the adapter's input, in [0, 1).
        targets: names of linear modules, or `all-linear`, which does not adapt the output layer.

    Every token uses all experts, weighed by a softmax. An expert contributes alpha / r times its gate, which is
    1 / experts of LoRA's update at first. CoIN uses no balance loss. B is 0, so a fresh adapter changes nothing. With 1
    expert the method is `lora` with life `continue`, bit for bit.
    A router has experts * in numbers per module, as many as experts / 2 ranks of a square module: compare with `lora`
    at r + experts / 2, not at r.
    `continue` is the only life: an update that depends on the token can neither be merged into weights nor summed up.

    Deviations: A starts as peft draws it (the code: normal, 0.01); the gates are computed in fp32; one dropout mask
    serves all experts (the code draws one for each).
    Public code that this avoids: a loop over experts in Python; a `merge` that marks the layer as merged and merges
    nothing.

    Keeps between tasks: only the adapter. Plain peft opens it without its routers, and then gives other logits.
    """

    shardable: ClassVar[bool] = True
    adds_parameters: ClassVar[bool] = True
    freezes_weights: ClassVar[bool] = True

    experts: int = 8
    r: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: str | list[str] = "all-linear"

    lora: Lora = field(init=False, repr=False)
    """Adds the adapter whose modules become experts."""

    def __post_init__(self) -> None:
        self.lora = Lora("continue", self.r, self.alpha, self.dropout, self.targets)
        if self.experts < 1 or self.r % self.experts:
            raise UserError(f"experts: {self.experts} must be at least 1 and divide the total rank r {self.r}")

    @property
    def adapter(self) -> Literal["shared"]:
        """States hold the adapter."""
        return "shared"

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Warn about one expert, which is plain LoRA."""
        return ["experts 1 is equivalent to lora with life continue"] if self.experts == 1 else []

    def suits(self, outline: Outline) -> None:
        """Refuse targets that the model does not have."""
        self.lora.suits(outline)

    def prepare(self, model: Any, t: int) -> Any:
        """Add an adapter of experts, or continue with the one that the model has."""
        from cl.models import adapters, lora_experts

        fresh = not adapters.names(model, "trained")
        model = self.lora.prepare(model, t)
        if fresh and self.experts > 1:
            lora_experts.route(model, f"t{t}", self.experts)
        self.lora.set_decay(model)
        return model
