"""O-LoRA: learn each task in a subspace orthogonal to those of the earlier adapters.

Wang et al. 2023, arXiv 2310.14152, and its code, `cmnfriend/O-LoRA`. With A_i [r, in] of each earlier task, frozen,
and A_t of the new one, per module:

    L = task loss + orthogonality * sum over modules and i < t of  sum |A_i @ A_t^T|
                  + decay * sum over modules of  ||A_t||_2 + ||B_t||_2

The paper writes squared norms; the code takes the plain sum of absolute values, which is what the published
coefficients belong to, and what is the default here.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from cl.errors import UserError
from cl.methods.method import Method, Step
from cl.models import adapters


def overlap(old_NrD: Tensor, new_NrD: Tensor, form: Literal["code", "paper"] = "code") -> Tensor:
    """Sum over N modules of the entries of A_old @ A_new^T [r_old, r]: absolute (`code`) or squared (`paper`)."""
    product = old_NrD @ new_NrD.mT
    return product.abs().sum() if form == "code" else product.square().sum()


class OLora(Method):
    """Penalise the overlap of the new adapter's A with the earlier ones', once per optimizer step.

    orthogonality: coefficient (the authors' lambda_1: 0.5 in the short orders, up to 5 in the long ones; a raw sum, so
    it grows with rank, tasks and modules and must be tuned anew); decay: of the new factors' norms (lambda_2); form:
    `code` or `paper`. Needs `lora` with life `stack`, whose older adapters stay frozen and summed.
    Public code that this avoids: a Python loop over all pairs of parameters with a synchronising `.item()` each;
    modules of one width are one product here. Known trap: shrinking A_t is a trivial minimum; look at the logged ratio.
    Keeps between tasks: nothing beside the adapters themselves.
    """

    def __init__(self, orthogonality: float = 0.5, decay: float = 0.0, form: Literal["code", "paper"] = "code") -> None:
        super().__init__()
        if orthogonality < 0 or decay < 0:
            raise UserError(f"orthogonality {orthogonality} and decay {decay} must be at least 0")
        self.orthogonality, self.decay, self.form = orthogonality, decay, form

    def active(self, t: int) -> bool:
        """Not at t = 1, where there is no earlier adapter, unless norms decay; not with coefficients of 0."""
        return (t > 1 and self.orthogonality > 0) or self.decay > 0

    def warnings(self) -> list[str]:
        """Settings under which nothing is penalised."""
        off = not (self.orthogonality or self.decay)
        return ["orthogonality 0 and decay 0 are equivalent to incremental LoRA"] if off else []

    def prepare(self, model: Any, t: int) -> Any:
        """Pair the new adapter's A with the earlier ones'. Raises UserError where these are not there."""
        old = [adapters.low_rank(model, name) for name in adapters.names(model, "frozen")]
        self.new = adapters.low_rank(model, f"t{t}")
        if not self.new or adapters.names(model, "merged") or adapters.names(model, "kept"):
            raise UserError("o_lora: needs the earlier adapters beside a fresh one; put lora with life stack before it")
        widths: dict[int, list[str]] = {}
        for name, (a, _, _) in self.new.items():
            widths.setdefault(a.shape[1], []).append(name)
        self.pairs = [
            (torch.stack([torch.cat([each[name][0].detach() for each in old]) for name in names]), names)
            for names in (widths.values() if old else ())
        ]
        return model

    def step_terms(self, at: Step) -> dict[str, Tensor]:
        """The weighted terms, each under its own name."""
        terms: dict[str, Tensor] = {}
        if self.pairs and self.orthogonality:
            parts = [
                overlap(old.to(at.model.device), torch.stack([self.new[name][0] for name in names]), self.form)
                for old, names in self.pairs
            ]
            terms["o_lora/orthogonality"] = self.orthogonality * torch.stack(parts).sum()
        if self.decay:
            norms = [factor.norm() for a, b, _ in self.new.values() for factor in (a, b)]
            terms["o_lora/decay"] = self.decay * torch.stack(norms).sum()
        return terms
