"""Closed book: what a model answers of documents that it has read, without them, between the rows of R as well.

MAC 2403.04317 and CaMeLS: with the documents of one task and then of further ones, the score on the first task's
questions, divided by the score right after the task, is their retention curve.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import ClassVar

from cl.errors import UserError
from cl.probes.probe import Data, Measure, Probe, State

MARGIN = 8  # tokens that an answer may have more than the longest reference, as in a row of R


@dataclass(frozen=True)
class ClosedBook(Probe):
    """Ask the questions of each reading task without its documents; answers are greedy, as in a row of R.

    The control are reading tasks among the retain sets: their documents are never read. The probe sees the state alone,
    without a memory that stands beside it.

    Args:
        items: largest number of questions per set.

    Deviation: greedy answers in place of 12 beams in 4 groups.
    """

    items: int = 100

    kinds: ClassVar[tuple[str, ...]] = ("reading",)
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("f1", "higher", "F1", "SQuAD's F1 of answers to questions about the documents."),
        Measure("em", "higher", "share of answers", "Share of answers that equal a reference in SQuAD's normal form."),
        Measure("em_cut_to_reference", "higher", "share of answers", "The papers' EM: answers may go on."),
    )
    reads_outside: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.items < 1:
            raise UserError(f"items: {self.items} must be at least 1")

    def measure(self, state: State, data: Data) -> dict[str, dict[str, float]]:
        """Return the scores of each set.

        Args:
            state: the model.
            data: the sets of kind `reading`.
        """
        return {name: self._scores(state, data, name) for name in data.folders}

    def _scores(self, state: State, data: Data, name: str) -> dict[str, float]:
        import torch

        from cl.data.rows import DialogueRows
        from cl.models import adapters, decoding, pretrained
        from cl.tasks.short_answers import em, em_cut, f1

        rows, asked = data.rows(name, data.split), data.examples(name, data.split)[: self.items]
        assert isinstance(rows, DialogueRows)
        model, tokenizer = state.loss.model, pretrained.stored_tokenizer(state.tokenizer)
        ends = {int(rows[0].ids[-1]), *decoding.stated_ends(model)}
        limit = max(int(rows.lengths[row] + 1 - rows.answers[row]) for row in range(len(asked))) + MARGIN
        questions = [rows.question(row) for row in range(len(asked))]
        with torch.no_grad():
            prompt = adapters.prompt(model)
        reader = adapters.reader(model)
        produced = decoding.answers(reader, questions, limit, state.batch, ends, state.loss.separator, prompt)
        texts = [str(tokenizer.decode(ids, skip_special_tokens=True)) for ids in produced]
        measures = {"f1": f1, "em": em, "em_cut_to_reference": em_cut}
        return {
            key: statistics.fmean(score(text, example) for text, example in zip(texts, asked, strict=True))
            for key, score in measures.items()
        }
