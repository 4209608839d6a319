"""InfLoRA: learn each task in a subspace of the inputs that earlier tasks did not use.

Liang and Li 2024, arXiv 2404.00228, and its code, read in the repository `liangyanshuo/InfLoRA`. With inputs x [D] of a
module and an orthonormal basis F [D, free] of the directions that are not protected (all of them at t = 1), per module:

    C    = mean of x x^T over the tokens of the task, once before and once after it        M = C C (code), C (paper)
    A_t  = the r leading eigenvectors of F F^T M F F^T, transposed, / sqrt(3), and frozen: only B_t learns
    F    loses after the task its leading eigenvectors, until at most 1 - epsilon_t of trace(M) is left in it
    epsilon_t = min(1, epsilon + rise * (t - 1))

So B_t @ A_t is 0 on all that is protected: the update cannot move what a module makes of such an input.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from cl.data.batches import IGNORE, Batch
from cl.errors import UserError
from cl.methods.method import Learned, Method
from cl.models import adapters

SCALE = math.sqrt(3)  # of the code: a row of A is then as long as one that is drawn as usual is on average
ROWS = 8  # of a data pass at once
NOISE = torch.finfo(torch.float32).eps  # below this share of a moment nothing is signal: it was summed in fp32


def real_tokens(batch: Batch) -> Tensor:
    """Which input tokens a batch has beside padding, bool [B, T]: those up to the last learned target of their row."""
    if batch.targets is None:
        return torch.ones_like(batch.ids[:, 1:], dtype=torch.bool)
    return (batch.targets != IGNORE).flip(1).cumsum(1).flip(1) > 0


def spectrum(moment_DD: Tensor, free_DF: Tensor) -> tuple[Tensor, Tensor]:
    """Energies [F], falling, and orthonormal directions [D, F] of a moment inside the span of `free`."""
    values, vectors = torch.linalg.eigh(free_DF.T @ moment_DD @ free_DF)
    return values.flip(0).clamp(min=0), free_DF @ vectors.flip(1)


def leading(energies_F: Tensor, total: Tensor, threshold: float) -> int:
    """How many of the first directions hold so much that at most 1 - threshold of `total` is left in the others."""
    left = energies_F.flip(0).cumsum(0).flip(0)  # in a direction and those after it
    return int((left > (1 - threshold + NOISE) * total).sum())


def complement(basis_DK: Tensor) -> Tensor:
    """Orthonormal basis [D, D - K] of the directions orthogonal to all columns of an orthonormal basis."""
    whole: Tensor = torch.linalg.qr(basis_DK, mode="complete").Q
    return whole[:, basis_DK.shape[1] :]


def packed(free_DF: Tensor) -> tuple[str, Tensor]:
    """What is stored of the free directions, with its name: themselves, or, where they are fewer, the `old` ones."""
    width, free = free_DF.shape
    return ("free", free_DF) if 2 * free <= width else ("old", complement(free_DF))


def unpacked(memory: Mapping[str, Tensor], module: str, like: Tensor) -> Tensor:
    """Inverse of `packed`: the free directions of a module, in the type of `like` [D, D]; all where it has none yet."""
    if f"free/{module}" in memory:
        return memory[f"free/{module}"].to(like)
    old = memory.get(f"old/{module}", like[:, :0])
    return complement(old.to(like))


class InfLora(Method):
    """Give the fresh adapter an A that is designed from the task's inputs and frozen, and protect those inputs after.

    epsilon, rise: share of the inputs' energy that is protected after the first task, and what is added to it for each
    further one. The code goes from epsilon to 1 over a stream of known length: rise is (1 - epsilon) / tasks there, and
    the defaults are its CIFAR-100 setting of ten tasks (ImageNet-R: 0.98, 0.002). form: `code` squares the second
    moment, so energies are fourth powers of the inputs' singular values and fewer directions are protected at equal
    epsilon (the published ones belong to it); `paper` takes the inputs' own, as GPM does. The inputs of language models
    have a few huge directions: of 576 into q, k, v of SmolLM2-135M, epsilon 0.95 protects 1 (median over layers, some
    3000 tokens of English) under `code` and 207 under `paper`; where nothing seems to be protected, take `paper`.
    Needs `lora` with life `merge` or `stack`. The authors adapt k and v with r 10 and scale 1 (`{r: 10, alpha: 10}`).
    Active from the first task on, whose A is designed too; no setting makes it plain LoRA.
    Source: code read; the paper through summaries, so that `paper` decomposes the projected inputs is second hand.
    Deviations: a basis per module, where the code shares one between k and v; tokens are weighed alike, padding left
    out; the first basis reaches epsilon like the later ones (the code stops one direction short); products in fp32,
    eigenvectors in fp64; where fewer than r directions are free, the other rows of A are 0 and a warning tells it.
    Public code that this avoids: where half of the directions are old after the first task, it stores them and then
    takes them for the free ones, the very interference that the method is to prevent; its decomposition may fill A up
    with old directions where the rest have no energy.
    Keeps between tasks: of each module the old or the free directions, whichever are fewer (DualGPM): at most D^2 / 2.
    """

    memory_settings: ClassVar[tuple[str, ...]] = ("epsilon", "rise", "form")

    def __init__(self, epsilon: float = 0.95, rise: float = 0.005, form: Literal["code", "paper"] = "code") -> None:
        super().__init__()
        if not 0 <= epsilon <= 1 or rise < 0:
            raise UserError(f"inf_lora: epsilon {epsilon} must be a share from 0 to 1, rise {rise} at least 0")
        self.epsilon, self.rise, self.form = epsilon, rise, form

    def inert(self, t: int) -> tuple[str, ...]:
        """What is protected stands in the memory, and so in the key of the stages that have one."""
        return ("epsilon", "rise")

    def warnings(self) -> list[str]:
        """Settings under which nothing is protected, or all of it soon."""
        if self.epsilon == self.rise == 0:
            return ["epsilon 0 and rise 0 protect nothing of the earlier tasks"]
        return ["epsilon 1 protects every input and may leave nothing to learn in"] if self.epsilon == 1 else []

    def prepare(self, model: Any, t: int) -> Any:
        """Freeze the fresh adapter's A, on a fork as well. Raises UserError where there is none, or it rescales."""
        factors = adapters.low_rank(model, f"t{t}")
        if not factors:
            raise UserError("inf_lora: there is no fresh adapter; put lora with life merge or stack before it")
        if model.peft_config[f"t{t}"].use_dora:
            raise UserError("inf_lora: variant: dora rescales what is protected; give lora the variant lora or rslora")
        for a, _, _ in factors.values():
            a.requires_grad_(False)
        return model

    @torch.no_grad()
    def survey(self, ahead: Learned) -> None:
        """Design A of each module from what it is about to see."""
        factors = adapters.low_rank(ahead.model, f"t{ahead.t}")
        short = 0
        for module, moment in self.moments(ahead):
            a = factors[module][0]
            _, directions = spectrum(moment, unpacked(ahead.memory, module, moment))
            found = directions[:, : len(a)].T / SCALE
            a.zero_()
            a[: len(found)] = found
            short += len(found) < len(a)
        if short:
            text = "modules have fewer free directions than r; lower epsilon, rise or r"
            warnings.warn(f"inf_lora: {short} of {len(factors)} {text}", stacklevel=2)

    @torch.no_grad()
    def consolidate(self, learned: Learned) -> dict[str, Tensor]:
        """Protect the leading directions of what each module saw, beside those protected before."""
        threshold = min(1.0, self.epsilon + self.rise * (learned.t - 1))
        found = {}
        for module, moment in self.moments(learned):
            energies, directions = spectrum(moment, unpacked(learned.memory, module, moment))
            name, basis = packed(directions[:, leading(energies, moment.trace(), threshold) :])
            found[f"{name}/{module}"] = basis.float()
        return found

    def moments(self, of: Learned) -> Iterator[tuple[str, Tensor]]:
        """Each module of the adapter with the matrix to decompose, fp64 [D, D]: one pass over the stage's rows."""
        factors, tokens = adapters.low_rank(of.model, f"t{of.t}"), 0
        sums = {name: a.new_zeros(a.shape[1], a.shape[1]) for name, (a, _, _) in factors.items()}

        def add(name: str, module: Any, arguments: tuple[Tensor, ...]) -> None:
            x = arguments[0].flatten(0, -2)[real.flatten()]
            sums[name].addmm_(x.T, x)

        hooks = [of.model.get_submodule(name).register_forward_pre_hook(partial(add, name)) for name in sums]
        try:
            for batch in of.batches(ROWS):
                real = real_tokens(batch)
                tokens += int(real.sum())
                of.outputs(batch)
        finally:
            for hook in hooks:
                hook.remove()
        for name in list(sums):
            moment = sums.pop(name).double() / tokens
            yield name, moment @ moment if self.form == "code" else moment
