"""MoELoRA: one adapter whose rank is shared out among experts, which a router weighs for each token.

Chen et al. 2024 (CoIN), arXiv 2403.08350, section 4, and its code, read in the repository `zackschen/CoIN`
(`CoIN/peft/tuners/coinmoelora.py`):

    y = W x + alpha / r * sum over experts e of  softmax(W_g x)_e  B_e A_e x      A_e [r / experts, in], B_e [out, ...]
"""

from __future__ import annotations

from typing import Any

from cl.errors import UserError
from cl.models import adapters, lora_experts
from strategies.adapters.lora import Lora


class MoeLora(Lora):
    """Train one adapter of experts over the whole stream; every token uses all of them, weighed by a softmax.

    experts: their number; r: total rank, shared out evenly; alpha: scale is alpha / r of the total rank, so an expert's
    share is alpha / r times its gate, 1 / experts of LoRA's at first; dropout, targets: as for `lora`. CoIN: 8 experts,
    r 128, alpha 256, no balance loss. B is 0, so a fresh adapter changes nothing; with 1 expert it is `lora` with life
    `continue`, bit for bit.
    A router has experts * in numbers a module, as many as experts / 2 ranks of a square one: compare with `lora` at
    r + experts / 2, not at r.
    It goes on learning, and has no other life: what depends on the token cannot be merged into weights or summed up.
    Deviations: A starts as peft draws it (the code: normal, 0.01), the gates are computed in fp32, and one mask of
    dropout serves all experts (the code draws one for each). Public code that this avoids: a loop over experts in
    Python; a `merge` that marks the layer as merged and merges nothing.
    Keeps between tasks: nothing beside the adapter, which plain peft opens without its routers: with other logits.
    """

    def __init__(
        self,
        experts: int = 8,
        r: int = 16,
        alpha: float = 32.0,
        dropout: float = 0.0,
        targets: str | list[str] = "all-linear",
    ) -> None:
        super().__init__("continue", r, alpha, dropout, targets)
        if experts < 1 or r % experts:
            raise UserError(f"experts: {experts} must be at least 1 and divide the total rank r {r}")
        self.experts = experts

    def warnings(self) -> list[str]:
        """One expert is none."""
        return ["experts 1 is equivalent to lora with life continue"] if self.experts == 1 else []

    def prepare(self, model: Any, t: int) -> Any:
        """Give the model an adapter of experts, or go on with the one that it has."""
        fresh = not adapters.names(model, "trained")
        model = super().prepare(model, t)
        if fresh and self.experts > 1:
            lora_experts.route(model, f"t{t}", self.experts)
        return model
