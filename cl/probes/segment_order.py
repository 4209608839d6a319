"""Order of segments (SORT): of two segments of one text, which came first?

A negative probe: the paper (arXiv 2410.08133) finds models good with the text in the prompt and near chance from
memory, where 155 humans manage. So a score from memory above that of texts never studied would be a finding.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any, ClassVar

from cl.errors import UserError
from cl.probes.probe import Data, Measure, Probe, State

if TYPE_CHECKING:
    from cl.data.batches import Batch
    from cl.data.rows import Row

ANSWER, LABELS = "Answer: Segment", (" A", " B")
CHANCE = "Chance is 0.5 because the earlier segment is A in half of the pairs."
COHERENCE = "Coherent text is likelier in its own order, so compare with row 0 and with unseen text."
SHARE = "share of pairs"


@dataclass(frozen=True)
class Pair:
    """Two segments of an excerpt.

    Args:
        excerpt: the text.
        first: the segment that comes first in it.
        second: the segment that comes later; the two do not overlap.
        swapped: the later segment is shown first, as segment A.
    """

    excerpt: str
    first: str
    second: str
    swapped: bool


@dataclass(frozen=True)
class SegmentOrder(Probe):
    """Ask which of two segments came first: with the excerpt in the prompt, from memory, and by likelihood.

    Studied texts are documents of the training split; their twins, of the measured split, were never studied. A run
    whose budget is below one epoch has studied only some of the former, which brings the two closer: give one epoch.
    Compared are the next-token logits of the two labels; a tie counts one half. `sort_nll`, for models that do not
    follow instructions, compares log p(first) + log p(second | first) with the same of the reverse order: no SORT.

    Args:
        pairs: pairs per data set and split, at most: one per excerpt, and an even number.
        segment: words of a segment, L_S.
        excerpt: words of an excerpt, L_E, at most: a longer document is cut into several.
        repeat_context: how often the excerpt stands in a prompt that holds it (JRT, arXiv 2407.05483).
        seed: of the choice of excerpts, segments and presentation.

    Source: arXiv 2410.08133 and its repository bridge-ai-neuro/SORT. Deviations: segments start at any word and not at
    sentences, at any distance and not in bins of distance; one prompt for all models, in the chat template's
    defaults where there is one, and not the best of 13 for each; texts have no title that a question could name.
    """

    pairs: int = 100
    segment: int = 20
    excerpt: int = 250
    repeat_context: int = 1
    seed: int = 0

    kinds: ClassVar[tuple[str, ...]] = ("text",)
    measures: ClassVar[tuple[Measure, ...]] = tuple(
        Measure(f"{key}{end}", "higher", SHARE, f"Share of pairs of {text} whose order {how}. {note}", chance)
        for key, how, note, chance in (
            ("sort_in_context", "is found with the excerpt in the prompt", CHANCE, 0.5),
            ("sort_from_memory", "is found without the excerpt", CHANCE, 0.5),
            ("sort_nll", "is likelier than its reverse", COHERENCE, None),
        )
        for end, text in (("", "training text"), ("_unseen", "text never trained on"))
    )

    def __post_init__(self) -> None:
        for key, least in (("pairs", 2), ("segment", 1), ("repeat_context", 1), ("seed", 0)):
            if getattr(self, key) < least:
                raise UserError(f"{key}: {getattr(self, key)} must be at least {least}")
        if self.excerpt < 2 * self.segment:
            raise UserError(f"excerpt: {self.excerpt} words do not hold two segments of {self.segment}; raise it")

    def measure(self, state: State, data: Data) -> dict[str, dict[str, float]]:
        """Return the shares of each text task.

        Args:
            state: the model.
            data: the text tasks of the stream.

        Raises:
            UserError: if a split has fewer than two excerpts that are long enough, or a prompt exceeds the model's
                context.
        """
        import torch

        asking = _Asking(state)
        found: dict[str, dict[str, float]] = {name: {} for name in data.folders}
        for name in found:
            for split, end in (("train", ""), (data.split, "_unseen")):
                chance = random.Random(f"{self.seed} {name} {split}")
                pairs = draw(asking.documents(data, name, split), self.pairs, self.segment, self.excerpt, chance)
                if not pairs:
                    reason = f"the {split} split of {name} has fewer than two excerpts of {2 * self.segment} words"
                    raise UserError(f"probes.segment_order: {reason}; lower `segment`, or give more text")
                with torch.no_grad():
                    found[name] |= {
                        f"sort_in_context{end}": asking.labels(pairs, self.repeat_context),
                        f"sort_from_memory{end}": asking.labels(pairs, 0),
                        f"sort_nll{end}": asking.likelihoods(pairs),
                    }
        return found


def draw(texts: Sequence[str], pairs: int, segment: int, excerpt: int, chance: random.Random) -> list[Pair]:
    """Draw pairs of segments: one per excerpt, in exactly half of them the first segment shown first.

    All places of two segments that do not overlap are equally likely.

    Args:
        texts: documents.
        pairs: number of pairs, at most; one less if there is an odd number of excerpts.
        segment: words of a segment.
        excerpt: words of an excerpt, at most.
        chance: source of randomness.
    """
    documents = (text.split() for text in texts)
    pieces = [words[start : start + excerpt] for words in documents for start in range(0, len(words), excerpt)]
    long = [piece for piece in pieces if len(piece) >= 2 * segment]
    chosen = chance.sample(long, min(pairs, len(long)) // 2 * 2)
    swapped = [place % 2 == 1 for place in range(len(chosen))]
    chance.shuffle(swapped)
    found = []
    for piece, reverse in zip(chosen, swapped, strict=True):
        early, late = sorted(chance.sample(range(len(piece) - 2 * segment + 2), 2))
        late += segment - 1
        first, second = (" ".join(piece[start : start + segment]) for start in (early, late))
        found.append(Pair(" ".join(piece), first, second, reverse))
    return found


def question(pair: Pair, context: int) -> str:
    """The question which of two segments came first.

    Args:
        pair: the segments.
        context: how often the excerpt stands before the question; 0: it is asked from memory.
    """
    a, b = (pair.second, pair.first) if pair.swapped else (pair.first, pair.second)
    where = "this excerpt" if context else "a text that you have read"
    asked = f"Segment A: {a}\nSegment B: {b}\nWhich segment came first, Segment A or Segment B?"
    return f"Read this excerpt: {pair.excerpt}\n\n" * context + f"Here are two segments of {where}.\n{asked}"


class _Asking:
    """A model that is asked for the order of segments."""

    def __init__(self, state: State) -> None:
        from cl.data.tokenization import chat_of
        from cl.models import pretrained

        self.state = state
        self.tokenizer: Any = pretrained.stored_tokenizer(state.tokenizer)
        self.chat = chat_of(self.tokenizer, None, {})

    def documents(self, data: Data, name: str, split: str) -> list[str]:
        """Documents of a split as text, from its tokens."""
        import numpy as np

        from cl.data.rows import PackedRows

        rows = data.rows(name, split)
        assert isinstance(rows, PackedRows)
        starts = np.flatnonzero(rows.tokens == self.state.loss.separator)
        options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
        return [str(self.tokenizer.decode(piece, **options)) for piece in np.split(rows.tokens, starts)]

    def labels(self, pairs: Sequence[Pair], context: int) -> float:
        """Share of pairs for which the label of the earlier segment is the likelier next token."""
        rows, tokens = zip(*(self._prompt(question(pair, context)) for pair in pairs), strict=True)
        found = []
        for start, batch in self._batches(rows):
            logits = self.state.loss.outputs(batch).logits().float()
            for of_prompt, place in zip(logits, range(start, len(rows)), strict=False):
                a, b = (float(of_prompt[token]) for token in tokens[place])
                found.append(_won(b, a) if pairs[place].swapped else _won(a, b))
        return sum(found) / len(found)

    def likelihoods(self, pairs: Sequence[Pair]) -> float:
        """Share of pairs that are likelier in their order than in the reverse."""
        from cl.models import losses

        both = [text for p in pairs for text in (f"{p.first} {p.second}", f"{p.second} {p.first}")]
        nll: list[float] = []
        for _, batch in self._batches([self._document(text) for text in both]):
            nll += losses.row_nll(self.state.loss.outputs(batch), batch.learned_by_row()).tolist()
        found = [_won(reverse, forward) for forward, reverse in zip(nll[::2], nll[1::2], strict=True)]
        return sum(found) / len(found)

    def _prompt(self, text: str) -> tuple[Row, tuple[int, int]]:
        """A prompt as a row whose one learned token follows "Answer: Segment", and the first tokens that tell A from B.

        Raises:
            UserError: if it exceeds the model's context.
        """
        import torch

        from cl.data.rows import IGNORE, Row
        from cl.data.tokenization import dialogue
        from cl.tasks.example import Example

        separator, context = self.state.loss.separator, self.state.loss.backbone.context
        asked = [Example(text, ANSWER + label, "phrase") for label in LABELS]
        a, b = ([token for ids in dialogue(e, self.tokenizer, separator, self.chat) for token in ids] for e in asked)
        same = sum(1 for _ in takewhile(lambda two: two[0] == two[1], zip(a, b, strict=False)))
        if context is not None and same > context:
            raise UserError(
                f"probes.segment_order: a prompt of {same} tokens exceeds the model's context of {context}; "
                "lower `excerpt`, `segment` or `repeat_context`"
            )
        ids = torch.tensor(a[: same + 1])
        targets = torch.cat([torch.full_like(ids[2:], IGNORE), ids[-1:]])
        return Row(ids, targets), (a[same], b[same])

    def _document(self, text: str) -> Row:
        """A text as the beginning of a document, in which every token is learned."""
        import torch

        from cl.data.rows import Row

        ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        row = torch.tensor([self.state.loss.separator, *ids])
        return Row(row, row[1:])

    def _batches(self, rows: Sequence[Row]) -> Iterator[tuple[int, Batch]]:
        """Batches of rows on the device of the model, each after the number of its first row."""
        from cl.data.batches import collate

        size, separator = self.state.batch, self.state.loss.separator
        for start in range(0, len(rows), size):
            yield start, collate(rows[start : start + size], separator).to(self.state.device)


def _won(one: float, other: float) -> float:
    """1 if the first of two numbers is larger, one half if they are equal."""
    return 0.5 * ((one > other) + (one >= other))
