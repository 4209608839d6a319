"""O-LoRA: learn each task in a subspace orthogonal to those of the earlier adapters.

Wang et al. 2023, arXiv 2310.14152, and its code, `cmnfriend/O-LoRA`. With the frozen A_i [r, in] of each earlier task
and the A_t of the new task, per module:

    L = task loss + orthogonality * sum over modules and i < t of  sum |A_i @ A_t^T|
                  + decay * sum over modules of  ||A_t||_2 + ||B_t||_2

The paper writes squared norms. The code takes the plain sum of absolute values; the published coefficients belong to
this form, and it is the default here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from cl.errors import UserError
from cl.methods.method import Method, Step, Trains

if TYPE_CHECKING:
    from torch import Tensor


def overlap(old_NrD: Tensor, new_NrD: Tensor, form: Literal["code", "paper"] = "code") -> Tensor:
    """Sum over N modules of the entries of A_old @ A_new^T [r_old, r]: absolute (`code`) or squared (`paper`)."""
    product = old_NrD @ new_NrD.mT
    return product.abs().sum() if form == "code" else product.square().sum()


@dataclass(eq=False)
class OLora(Trains):
    """Penalise the overlap of the new adapter's A with those of the earlier adapters, once per optimizer step.

    Args:
        orthogonality: coefficient of the overlap, the authors' lambda_1: 0.5 in the short orders, up to 5 in the long.
        decay: coefficient of the norms of the new factors, the authors' lambda_2.
        form: of the overlap: absolute values (`code`) or squares (`paper`).

    The overlap is a raw sum, so it grows with rank, tasks and modules, and `orthogonality` must be tuned anew. Needs
    `lora` with life `stack`, whose older adapters stay frozen and summed.

    Public code that this avoids: a Python loop over all pairs of parameters, with a synchronising `.item()` each. Here
    the modules of one width are one product.
    Known trap: shrinking A_t is a trivial minimum; look at the logged ratio.

    Keeps between tasks: nothing beside the adapters.
    """

    shardable: ClassVar[bool] = True

    orthogonality: float = 0.5
    decay: float = 0.0
    form: Literal["code", "paper"] = "code"

    fresh: str = field(init=False, repr=False, default="")
    """Name of the new adapter."""
    pairs: list[tuple[Tensor, list[str]]] = field(init=False, repr=False, default_factory=list)
    """The earlier A of all modules of one width [N, r_old, D], and the names of these modules."""

    def __post_init__(self) -> None:
        if self.orthogonality < 0 or self.decay < 0:
            raise UserError(f"orthogonality {self.orthogonality} and decay {self.decay} must be at least 0")

    def active(self, t: int) -> bool:
        """Act if norms decay, and from t = 2 on if overlap is penalised: at t = 1 there is no earlier adapter."""
        return (t > 1 and self.orthogonality > 0) or self.decay > 0

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Warn about coefficients under which nothing is penalised."""
        off = not (self.orthogonality or self.decay)
        return ["orthogonality 0 and decay 0 are equivalent to incremental LoRA"] if off else []

    def prepare(self, model: Any, t: int) -> Any:
        """Pair the A of the new adapter with those of the earlier ones.

        Raises:
            UserError: if there is no fresh adapter beside the earlier ones.
        """
        import torch

        from cl.models import adapters

        old = [adapters.low_rank(model, name) for name in adapters.names(model, "frozen")]
        self.fresh = f"t{t}"
        new = adapters.low_rank(model, self.fresh)
        if not new or adapters.names(model, "merged") or adapters.names(model, "kept"):
            raise UserError("o_lora: needs the earlier adapters beside a fresh one; put lora with life stack before it")
        widths: dict[int, list[str]] = {}
        for name, (a, _, _) in new.items():
            widths.setdefault(a.shape[1], []).append(name)
        self.pairs = [
            (torch.stack([torch.cat([each[name][0].detach() for each in old]) for name in names]), names)
            for names in (widths.values() if old else ())
        ]
        return model

    def step_terms(self, at: Step) -> dict[str, Tensor]:
        """Return the weighted terms, each under its own name."""
        import torch

        from cl.models import adapters

        terms: dict[str, Tensor] = {}
        new = adapters.low_rank(at.model, self.fresh)
        if self.pairs and self.orthogonality:
            parts = [
                overlap(old.to(at.model.device), torch.stack([new[name][0] for name in names]), self.form)
                for old, names in self.pairs
            ]
            terms["o_lora/orthogonality"] = self.orthogonality * torch.stack(parts).sum()
        if self.decay:
            norms = [factor.norm() for a, b, _ in new.values() for factor in (a, b)]
            terms["o_lora/decay"] = self.decay * torch.stack(norms).sum()
        return terms
