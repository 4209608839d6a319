"""Supervised fine-tuning on a few selected instructions, to align the form of answers: cross-entropy of the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cl.methods.objective import TokenCrossEntropy
from strategies.alignment.base import Alignment

if TYPE_CHECKING:
    from cl.methods.objective import Objective


@dataclass(eq=False)
class SFT(Alignment):
    """Align with instructions: the question is in the chat template, and only the answer and its end are learned.

    Args:
        of: the general set, of kind `instruction`.
        count: examples of the set that are kept. None: all.
        examples: examples that the stage trains in all, repetitions counted. None: each of `count` once.
        score: how candidates are scored: `ppl`, `fas_sample`, `fas_response` or `random`.
        keep: keep the candidates with the `lowest` or the `highest` score.
        rate: factor on the peak learning rate.

    See `Alignment` for the selection and its sources. Methods of the strategy that act while a task is learned
    (penalties, distillation, mixtures) do not act here; adapters are trained further.

    Keeps between tasks: nothing; the next task continues from the state before the alignment.
    """

    phase: ClassVar[str] = "sft"
    shardable: ClassVar[bool] = True

    def objective(self) -> Objective:
        """Minimise the cross-entropy of the answers' tokens."""
        return TokenCrossEntropy(learns_from=("instruction",))
