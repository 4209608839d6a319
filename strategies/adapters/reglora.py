"""RegLoRA: keep a new task's update small where earlier tasks' updates were large.

Chen et al. 2025 (SEFE), arXiv 2505.02486, and its code, read as in the repository `jinpeng0528/SEFE`. With A [r, in],
B [out, r] of a module, dW = B @ A without the factor alpha / r:

    key elements of task t:  the k = int(keep * out * in) entries of |dW| that are largest, in each module
    L_reg = 1/modules * sum over modules of  mean over key elements (i, j) of all earlier tasks of |dW_ij|
    L     = task loss + weight * L_reg

It is an L1 pull of the *new* update to 0 there: what the earlier tasks put there is in the merged base weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from cl.errors import UserError
from cl.methods.method import Learned, Method, Step
from cl.models import adapters

# Torch says so once, of the storage format; the two products used here are tested against dense ones.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")

Multiplicity = Literal["counts", "union"]


def key_elements(update: Tensor, keep: float) -> Tensor:
    """Mask [out, in] of the int(keep * out * in) largest entries of |update|; of equal ones the first."""
    size, count = update.abs().flatten(), int(keep * update.numel())
    if not count:
        return torch.zeros_like(update, dtype=torch.bool)
    least = size.topk(count, sorted=False).values.min()  # topk takes any of equal ones, so they are chosen below
    mask = size > least
    mask[(size == least).nonzero()[: count - int(mask.sum())]] = True
    return mask.view_as(update)


def penalty(update: Tensor, counts: Tensor) -> Tensor:
    """Weighted mean of |update| [..., out, in] with the counts as weights, over the last two dimensions; 0 for none.

    With counts of how often an element was protected this is the mean over the official list, in which an element
    protected n times stands n times; with 0 and 1 it is that over the union. Where nothing is protected the official
    code would give NaN.
    """
    total = counts.sum((-2, -1))
    return (update.abs() * counts).sum((-2, -1)) / total.clamp(min=1)


def pack(mask: Tensor) -> Tensor:
    """Bits of a boolean mask, eight to a byte, uint8 [ceil(n / 8)]."""
    flat = torch.nn.functional.pad(mask.flatten().to(torch.uint8), (0, -mask.numel() % 8)).view(-1, 8)
    return (flat << torch.arange(8, dtype=torch.uint8)).sum(1).to(torch.uint8)


def unpack(bits: Tensor, shape: tuple[int, int]) -> Tensor:
    """Inverse of `pack`: a boolean mask of that shape."""
    flat = (bits[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
    return flat.flatten()[: shape[0] * shape[1]].view(shape).bool()


class Protected:
    """The protected entries of many modules as one block-diagonal pattern, so that one kernel serves them all.

    Built from the counts [out, in] of each module. Rows are the modules' outputs one below the other, R in all, columns
    their inputs side by side, C in all; weights [entries] make the penalty a sum: count / (sum of the module's counts)
    / modules.
    """

    def __init__(self, counts: Sequence[Tensor], device: torch.device) -> None:
        rows, columns, weights = [], [], []
        row = column = 0
        for count in counts:
            at = count.nonzero()
            rows.append(at[:, 0] + row)
            columns.append(at[:, 1] + column)
            weights.append(
                count[at[:, 0], at[:, 1]].float() / (count.sum(dtype=torch.float32) * len(counts)).clamp(min=1)
            )
            row, column = row + count.shape[0], column + count.shape[1]
        where, across = torch.cat(rows), torch.cat(columns)
        self.order = torch.argsort(across, stable=True).to(device)  # entries by column: the transposed pattern
        self.size, self.weights = (row, column), torch.cat(weights).to(device)
        self.pattern = _offsets(where, row).to(device), across.to(device)
        self.transposed = _offsets(across[self.order.cpu()], column).to(device), where.to(device)[self.order]

    def matrix(self, values: Tensor) -> Tensor:
        """Sparse [R, C] with a value for each entry."""
        return torch.sparse_csr_tensor(*self.pattern, values, self.size, check_invariants=False)

    def flipped(self, values: Tensor) -> Tensor:
        """The same transposed, [C, R]."""
        return torch.sparse_csr_tensor(*self.transposed, values[self.order], self.size[::-1], check_invariants=False)

    def __call__(self, b_Rr: Tensor, a_Cr: Tensor) -> Tensor:
        """Mean over modules of `penalty` of each one's B @ A, from stacked B and stacked, transposed A."""
        total: Tensor = _Entries.apply(b_Rr, a_Cr, self)  # type: ignore[no-untyped-call]
        return total


def _offsets(sorted_indices: Tensor, size: int) -> Tensor:
    """Where each row begins in a list of sorted row numbers, [size + 1]."""
    return torch.cat([torch.zeros(1, dtype=torch.int64), torch.bincount(sorted_indices, minlength=size).cumsum(0)])


class _Entries(torch.autograd.Function):
    """Weighted sum of |B @ A| over given entries: only these are ever computed, forward (SDDMM) and backward (SpMM)."""

    @staticmethod
    def forward(ctx: Any, b: Tensor, a: Tensor, protected: Protected) -> Tensor:
        empty = protected.matrix(torch.zeros_like(protected.weights))
        values = torch.sparse.sampled_addmm(empty, b, a.T).values()
        ctx.slope, ctx.protected = values.sign() * protected.weights, protected
        ctx.save_for_backward(b, a)
        total: Tensor = (values.abs() * protected.weights).sum()
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        b, a = ctx.saved_tensors
        slope = ctx.slope * grads[0]
        return ctx.protected.matrix(slope) @ a, ctx.protected.flipped(slope) @ b, None


class RegLora(Method):
    """Penalise the new adapter's update at the key elements of the earlier ones, once per optimizer step.

    keep: share of each module's entries that is protected per task (the paper's M, 2 %); weight: of the penalty (the
    paper's lambda; it is not free of scale: with `scaled` the same pressure needs weight * r / alpha); multiplicity:
    `counts` as in the paper, where an element that n tasks protect counts n times, or `union`; scaled: penalise
    alpha / r * B @ A instead of B @ A. Needs `lora` with life `merge` or `stack`: one adapter that goes on learning
    would be pulled away from what it knows.
    Deviations: products in fp32 (the official code ranks bf16 products, which tie); only protected entries are
    computed, those of all modules by one kernel; the penalty stands outside the layers, so neither micro-batches nor
    recomputation pay for it again.
    Memory: a bit per entry and task (`counts`), or one bit in all (`union`).
    """

    memory_settings: ClassVar[tuple[str, ...]] = ("keep", "multiplicity")

    def __init__(
        self, keep: float = 0.02, weight: float = 2500.0, multiplicity: Multiplicity = "counts", scaled: bool = False
    ) -> None:
        super().__init__()
        if not 0 <= keep <= 1 or weight < 0:
            raise UserError(f"keep {keep} must be a share from 0 to 1, weight {weight} at least 0")
        self.keep, self.weight, self.multiplicity, self.scaled = keep, weight, multiplicity, scaled
        self.counts: dict[str, Tensor] = {}  # by module: uint8 [out, in], how many tasks protect each entry

    def active(self, t: int) -> bool:
        """Not at t = 1, where nothing is protected, and not where it has no effect."""
        return t > 1 and self.keep > 0 and self.weight > 0

    def check(self, others: Sequence[Method]) -> None:
        """Not where each task has an adapter of its own: there is no earlier update to keep clear of."""
        if any(other.alone() for other in others):
            raise UserError("adapters of life alone do not meet; give lora another life, or leave the penalty out")

    def warnings(self) -> list[str]:
        """Settings under which nothing is penalised."""
        off = [name for name in ("keep", "weight") if getattr(self, name) == 0]
        return [f"{name} 0 is equivalent to LoRA without it" for name in off]

    def remember(self, memory: Mapping[str, Tensor]) -> None:
        """Count how many tasks protect each entry, by module. Raises UserError where no entry is protected at all."""
        for key, bits in memory.items():
            module, place = key.rsplit("/", 1)
            height, width = map(int, place.partition("@")[2].split("x"))
            mask = unpack(bits, (height, width)).to(torch.uint8)
            self.counts[module] = self.counts.get(module, torch.zeros_like(mask)) + mask
        if not any(count.any() for count in self.counts.values()):
            raise UserError(
                f"reglora: keep: {self.keep} protects no entry of these small modules; raise it, or set it to 0"
            )

    def prepare(self, model: Any, t: int) -> Any:
        """Take the fresh adapter. Raises UserError where there is none."""
        factors = adapters.low_rank(model, f"t{t}")
        if not factors:
            raise UserError("reglora: there is no fresh adapter; put lora with life merge or stack before it")
        self.factors = [factors[name] for name in self.counts]
        self.protected: Protected | None = None  # built when the model is where it will be trained
        return model

    def step_terms(self, at: Step) -> dict[str, Tensor]:
        """The weighted penalty; nothing where no task was learned before, as in `scratch`."""
        if not self.factors:
            return {}
        b = torch.cat([scale * b if self.scaled else b for _, b, scale in self.factors])
        a = torch.cat([a.T for a, _, _ in self.factors])
        if self.protected is None:
            self.protected = Protected(list(self.counts.values()), b.device)
        return {"reglora": self.weight * self.protected(b, a)}

    def consolidate(self, learned: Learned) -> dict[str, Tensor]:
        """Add the key elements of the task just learned to those of the earlier ones, as bits."""
        found = dict(learned.memory)
        for name, (a, b, _) in adapters.low_rank(learned.model, adapters.names(learned.model, "trained")[-1]).items():
            mask = key_elements(b.detach().float() @ a.detach().float(), self.keep).cpu()
            key = f"{name}/{learned.t if self.multiplicity == 'counts' else 'all'}@{mask.shape[0]}x{mask.shape[1]}"
            found[key] = pack(mask) | found[key] if key in found else pack(mask)
            if not mask.any():
                warnings.warn(f"reglora: keep {self.keep} protects nothing in {name} {tuple(mask.shape)}", stacklevel=2)
        return found
