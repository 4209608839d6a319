"""InfLoRA: learn each task in a subspace of the inputs that earlier tasks did not use.

Liang and Li 2024, arXiv 2404.00228, and its code, read in the repository `liangyanshuo/InfLoRA`. With inputs x [D] of a
module and an orthonormal basis F [D, free] of the directions that are not protected (all of them at t = 1), per module:

    C    = mean of x x^T over the tokens of the task, once before and once after it        M = C C (code), C (paper)
    A_t  = the r leading eigenvectors of F F^T M F F^T, transposed, / sqrt(3), and frozen: only B_t learns
    F    loses after the task its leading eigenvectors, until at most 1 - epsilon_t of trace(M) is left in it
    epsilon_t = min(1, epsilon + rise * (t - 1))

So B_t @ A_t is 0 on all protected directions: the update cannot change the module's output for such an input.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from cl.errors import UserError
from cl.methods.method import Learned, Method, Remembers, Trains

if TYPE_CHECKING:
    from torch import Tensor

SCALE = math.sqrt(3)  # of the code: a row of A is then as long as one that is drawn as usual is on average
ROWS = 8  # rows of a data pass at once


@dataclass(eq=False)
class InfLora(Trains, Remembers):
    """Compute the A of the fresh adapter from the task's inputs, freeze it, and protect these inputs afterwards.

    Args:
        epsilon: share of the inputs' energy that is protected after the first task.
        rise: increase of this share for each further task.
        form: matrix that is decomposed: `code` squares the second moment of the inputs, `paper` does not.

    The authors' code goes from epsilon to 1 over a stream of known length: there rise is (1 - epsilon) / tasks. The
    defaults are its CIFAR-100 setting of ten tasks (ImageNet-R: 0.98, 0.002).
    Under `code` energies are fourth powers of the inputs' singular values, so fewer directions are protected at equal
    epsilon; the published values of epsilon belong to this form. `paper` takes the second moment itself, as GPM does.
    The inputs of language models have a few huge directions: of 576 directions into q, k, v of SmolLM2-135M, epsilon
    0.95 protects 1 under `code` and 207 under `paper` (median over layers, about 3000 tokens of English). If nothing
    seems to be protected, use `paper`.
    Needs `lora` with life `merge` or `stack`. The authors adapt k and v with r 10 and scale 1 (`{r: 10, alpha: 10}`).
    The method acts from the first task on, whose A is computed too; no setting makes it plain LoRA.

    Source: the code was read; the paper through summaries, so that `paper` decomposes the projected inputs is second
    hand.
    Deviations: one basis per module, where the code shares one between k and v; all tokens have the same weight,
    padding is left out; the first basis reaches epsilon like the later ones (the code stops one direction short);
    products in fp32, eigenvectors in fp64; if fewer than r directions are free, the remaining rows of A are 0 and a
    warning says so.
    Public code that this avoids: if half of the directions are old after the first task, the authors' code stores the
    old directions and then treats them as the free ones, the very interference that the method is to prevent. Its
    decomposition may fill A up with old directions where the remaining ones have no energy.

    Keeps between tasks: of each module the old or the free directions, whichever are fewer (DualGPM): at most D^2 / 2
    numbers.
    """

    memory_settings: ClassVar[tuple[str, ...]] = ("epsilon", "rise", "form")

    epsilon: float = 0.95
    rise: float = 0.005
    form: Literal["code", "paper"] = "code"

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon <= 1 or self.rise < 0:
            raise UserError(
                f"inf_lora: epsilon {self.epsilon} must be a share from 0 to 1, rise {self.rise} at least 0"
            )

    def inactive_settings(self, t: int) -> tuple[str, ...]:
        """The protected directions are in the memory, and so in the key of the stages that have one."""
        return ("epsilon", "rise")

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Warn about settings under which nothing is protected, or soon everything."""
        if self.epsilon == self.rise == 0:
            return ["epsilon 0 and rise 0 protect nothing of the earlier tasks"]
        return ["epsilon 1 protects every input and may leave nothing to learn in"] if self.epsilon == 1 else []

    def prepare(self, model: Any, t: int) -> Any:
        """Freeze the A of the fresh adapter, also on a fork.

        Raises:
            UserError: if there is no fresh adapter, or its variant rescales the update.
        """
        from cl.models import adapters

        factors = adapters.low_rank(model, f"t{t}")
        if not factors:
            raise UserError("inf_lora: there is no fresh adapter; put lora with life merge or stack before it")
        if model.peft_config[f"t{t}"].use_dora:
            raise UserError("inf_lora: variant: dora rescales what is protected; give lora the variant lora or rslora")
        for a, _, _ in factors.values():
            a.requires_grad_(False)
        return model

    def survey(self, ahead: Learned) -> None:
        """Compute the A of each module from the inputs of the stage ahead."""
        import torch

        from cl.models import adapters
        from strategies.adapters import input_subspaces

        factors = adapters.low_rank(ahead.model, f"t{ahead.t}")
        short = 0
        with torch.no_grad():
            for module, moment in self.moments(ahead):
                a = factors[module][0]
                free = input_subspaces.unpacked(ahead.memory, module, moment)
                _, directions = input_subspaces.spectrum(moment, free)
                found = directions[:, : len(a)].T / SCALE
                a.zero_()
                a[: len(found)] = found
                short += len(found) < len(a)
        if short:
            text = "modules have fewer free directions than r; lower epsilon, rise or r"
            warnings.warn(f"inf_lora: {short} of {len(factors)} {text}", stacklevel=2)

    def consolidate(self, learned: Learned) -> dict[str, Tensor]:
        """Protect the leading directions of each module's inputs, beside those protected before."""
        import torch

        from strategies.adapters import input_subspaces

        threshold = min(1.0, self.epsilon + self.rise * (learned.t - 1))
        found = {}
        with torch.no_grad():
            for module, moment in self.moments(learned):
                free = input_subspaces.unpacked(learned.memory, module, moment)
                energies, directions = input_subspaces.spectrum(moment, free)
                used = input_subspaces.leading(energies, moment.trace(), threshold)
                name, basis = input_subspaces.packed(directions[:, used:])
                found[f"{name}/{module}"] = basis.float()
        return found

    def moments(self, of: Learned) -> Iterator[tuple[str, Tensor]]:
        """Yield each module of the adapter with the matrix to decompose, fp64 [D, D], after one pass over the rows."""
        from cl.models import adapters
        from strategies.adapters.input_subspaces import real_tokens

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
