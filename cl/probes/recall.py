"""Recall: whether the model continues a studied passage word for word from its first half.

Orhan 2023, arXiv 2303.17557.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from cl.errors import UserError
from cl.metrics.rouge import rouge_l, rouge_n
from cl.probes.probe import Data, Measure, Probe, State


@dataclass(frozen=True)
class Recall(Probe):
    """Continue studied passages, and their twins, greedily from the first half of their tokens.

    Args:
        items: largest number of passages per set, and of twins, that are continued.

    Source: arXiv 2303.17557. Its ROUGE compares whole texts, cue included, so it is about one half where nothing is
    recalled (derived, not said in the paper): here it stands beside ROUGE of the continuation alone.
    """

    items: int = 40

    kinds: ClassVar[tuple[str, ...]] = ("passage",)
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("rouge_l", "higher", "ROUGE-L", "Agreement of the continuation with the second half of the passage."),
        Measure("rouge_1", "higher", "ROUGE-1", "The same by single words, in any order."),
        Measure("with_cue", "higher", "ROUGE-L", "Agreement of the whole text, cue included, as in the paper."),
        Measure("exact", "higher", "share of passages", "Share of passages that are continued without an error."),
        Measure("twin", "neither", "ROUGE-L", "Agreement of the continuation with the second half of the twin."),
    )

    def __post_init__(self) -> None:
        if self.items < 1:
            raise UserError(f"items: {self.items} must be at least 1")

    def measure(self, state: State, data: Data) -> dict[str, dict[str, float]]:
        """Return the figures of each set of passages.

        Args:
            state: the model.
            data: the sets of passages.
        """
        return {
            name: self._continued(state, data, name, "train")
            | {"twin": self._continued(state, data, name, "train.twins")["rouge_l"]}
            for name in data.folders
        }

    def _continued(self, state: State, data: Data, name: str, split: str) -> dict[str, float]:
        from cl.data.rows import DialogueRows
        from cl.models import adapters, decoding
        from cl.models.pretrained import stored_tokenizer

        found, tokenizer = data.rows(name, split), stored_tokenizer(state.tokenizer)
        assert isinstance(found, DialogueRows)
        frames = [int(before) for before in found.answers[: self.items]]
        texts = [found[row].ids[:-1] for row in range(len(frames))]
        cues = [before + (len(text) - before) // 2 for before, text in zip(frames, texts, strict=True)]
        longest = max(len(text) - cue for cue, text in zip(cues, texts, strict=True))
        reader, prompt = adapters.reader(state.loss.model), adapters.prompt(state.loss.model)
        asked = [text[:cue] for cue, text in zip(cues, texts, strict=True)]
        produced = decoding.answers(reader, asked, longest, state.batch, (), state.loss.separator, prompt)
        given = []
        for text, before, cue, ids in zip(texts, frames, cues, produced, strict=True):
            parts = (text[before:cue].tolist(), text[cue:].tolist(), ids[: len(text) - cue])
            given.append(agreement(*(str(tokenizer.decode(part)).split() for part in parts)))
        return {key: statistics.fmean(each[key] for each in given) for key in given[0]}


def agreement(cue: Sequence[str], wanted: Sequence[str], produced: Sequence[str]) -> Mapping[str, float]:
    """ROUGE of a continuation alone and with its cue, and whether it has no error.

    Args:
        cue: words of the first half of the passage.
        wanted: words of its second half.
        produced: words that the model has produced.
    """
    return {
        "rouge_l": rouge_l(produced, wanted),
        "rouge_1": rouge_n(produced, wanted, 1),
        "with_cue": rouge_l([*cue, *produced], [*cue, *wanted]),
        "exact": float(produced == wanted),
    }
