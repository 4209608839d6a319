"""Supervised fine-tuning on a few chosen instructions, to align the form of answers: cross-entropy of the answer."""

from __future__ import annotations

from typing import ClassVar

from strategies.alignment.base import Alignment


class SFT(Alignment):
    """Align with instructions: question in the chat template, only the answer and its end are learned.

    See `Alignment` for the settings and how few examples are chosen. Methods of the strategy that act while a task is
    learned (penalties, distillation, mixtures) do not act here; adapters are trained on.
    Keeps between tasks: nothing; the next task goes on from what was learned before the alignment.
    """

    phase: ClassVar[str] = "sft"
