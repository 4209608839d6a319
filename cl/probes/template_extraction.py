"""Template extraction: what a model writes after the bare opening of its chat template.

The opening is read in post-training only, so what follows it resembles the tuning data (arXiv 2510.18554, known from
summaries). Over a stream of tasks, the share of samples that come from each task is a measure of what the model still
generates of it: generative forgetting. The same samples are a source for pseudo-replay.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from cl.errors import UserError
from cl.metrics.rouge import rouge_l
from cl.probes.probe import Beside, Data, Measure, Probe, State

if TYPE_CHECKING:
    from torch import Tensor

    from cl.tasks.example import Example

NEAREST = 10  # items by cosine that are compared by ROUGE-L; ours
NO_TEMPLATE = "no chat template, and so no opening that only tuning data have; use a chat model, or remove the probe"
SHARE = "share of samples"


@dataclass(frozen=True)
class Frame:
    """What a chat template writes around a question and its answer.

    Args:
        opening: token ids before the question.
        middle: text between question and answer.
        end: text of the token that ends an answer.
    """

    opening: Tensor
    middle: str
    end: str


@dataclass(frozen=True)
class TemplateExtraction(Probe):
    """Sample from the bare opening of the chat template, and attribute each sample to the item that it resembles.

    A sample belongs to the task of its nearest item if their ROUGE-L is at least `threshold`. Nearest is the item of
    largest ROUGE-L among the NEAREST ones by TF-IDF cosine. This is done with training items, and again with equally
    many items of the measured split, which were never trained on: items of a task resemble one another, and what a
    sample shares with both is the task's form and not a memory. All tasks share one set of samples, because they share
    the opening. Only answers are trained here, so questions are found where the model had them before or where it
    generalises; row 0 is the control for what it had before.

    It is a lower bound: rewordings are not found, and training items beyond those compared are not looked at.

    Args:
        samples: number of samples.
        tokens: tokens of a sample.
        items: training items per task that samples are compared with, at most; and as many held-out items.
        threshold: ROUGE-L (F1) from which a sample counts as an item's. Ours, and not calibrated: choose it where row 0
            attributes little.
        seed: of the samples and of the choice of items.

    Source: arXiv 2510.18554. Deviations: TF-IDF and ROUGE-L in place of embeddings with similarity 0.95, which another
    measure cannot take over; hundreds of samples, not 100,000; the difference to held-out items.
    """

    samples: int = 100
    tokens: int = 96
    items: int = 500
    threshold: float = 0.7
    seed: int = 0

    kinds: ClassVar[tuple[str, ...]] = ("instruction",)
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("extracted", "higher", SHARE, "Share attributed to training items, minus that of held-out items.", 0.0),
        Measure("train", "neither", SHARE, "Share of samples attributed to training items of the task."),
        Measure("held_out", "neither", SHARE, "Share of samples attributed to held-out items of the task."),
    )

    def __post_init__(self) -> None:
        for key, least in (("samples", 1), ("tokens", 1), ("items", 1), ("seed", 0)):
            if getattr(self, key) < least:
                raise UserError(f"{key}: {getattr(self, key)} must be at least {least}")
        if not 0 < self.threshold <= 1:
            raise UserError(f"threshold: {self.threshold} must be above 0 and at most 1: it is a ROUGE-L")

    def check(self, beside: Beside) -> None:
        """Raise UserError for a tokenizer that is trained on the stream: it has no chat template."""
        from cl.models import pretrained

        model = beside.model
        if model.tokenizer is None and pretrained.origin(model.name) == "fresh":
            raise UserError(f"{model.name} has {NO_TEMPLATE}")

    def measure(self, state: State, data: Data) -> dict[str, dict[str, float]]:
        """Return the shares of each instruction task.

        Args:
            state: the model.
            data: the instruction tasks of the stream.

        Raises:
            UserError: if the tokenizer has no chat template, or nothing stands before a question.
        """
        opened = frame(state, data)
        samples = [words(written(raw, opened)) for raw in self._draw(state, opened)]
        train, held_out = {}, {}
        for name in data.folders:
            splits = [data.examples(name, split) for split in ("train", data.split)]
            count = min(self.items, *map(len, splits))
            if not count:
                raise UserError(f"probes.template_extraction: {name} has no {data.split} items to compare with")
            chance = random.Random(f"{self.seed} {name}")
            train[name], held_out[name] = (list(map(_item, chance.sample(split, count))) for split in splits)
        own, other = (attributed(samples, pool, self.threshold) for pool in (train, held_out))
        return {
            name: {"extracted": own[name] - other[name], "train": own[name], "held_out": other[name]}
            for name in data.folders
        }

    def _draw(self, state: State, opened: Frame) -> list[str]:
        """The samples as text, with the texts of special tokens."""
        from cl.models import adapters, decoding, pretrained

        model, size = state.loss.model, (self.samples, self.tokens, state.batch)
        prompt = adapters.prompt(model)
        prompt = None if prompt is None else prompt.detach()
        reader = adapters.reader(model)
        drawn = decoding.samples(reader, opened.opening, *size, state.loss.separator, self.seed, prompt)
        return [_decoded(pretrained.stored_tokenizer(state.tokenizer), ids) for ids in drawn]


def frame(state: State, data: Data) -> Frame:
    """Read what the chat template writes around a question, from the first training row of the stream.

    The settings of the template are those of the rows, because the rows were made with them.

    Args:
        state: the model with its tokenizer.
        data: the instruction tasks of the stream.

    Raises:
        UserError: if the tokenizer has no chat template, or nothing stands before a question.
    """
    from cl.data.rows import DialogueRows
    from cl.models import pretrained

    tokenizer, name = pretrained.stored_tokenizer(state.tokenizer), next(iter(data.folders))
    if not tokenizer.chat_template:
        raise UserError(f"probes.template_extraction: the tokenizer has {NO_TEMPLATE}")
    rows, example = data.rows(name, "train"), data.examples(name, "train")[0]
    assert isinstance(rows, DialogueRows)
    ids = rows.question(0)
    text = _decoded(tokenizer, ids.tolist())
    before, asked, _ = text.partition(example.start.strip())
    _, _, middle = text.rpartition(example.question.strip())
    if not asked:
        raise UserError("probes.template_extraction: the chat template rewrites questions; remove the probe")
    # where a token holds the end of the opening and the start of the question, the opening ends before it
    length = max(n for n in range(len(ids) + 1) if before.startswith(_decoded(tokenizer, ids[:n].tolist())))
    if all(token in (state.loss.separator, tokenizer.bos_token_id) for token in ids[:length].tolist()):
        reason = "the chat template writes nothing before a question that other texts lack"
        raise UserError(f"probes.template_extraction: {reason}; use another chat model, or remove the probe")
    return Frame(ids[:length], middle, _decoded(tokenizer, rows[0].ids[-1:].tolist()))


def written(raw: str, opened: Frame) -> str:
    """Question and answer of a sample, or its question alone if the turn of the answer does not follow.

    Args:
        raw: text after the opening.
        opened: what the template writes.
    """
    question, _, rest = raw.partition(opened.middle)
    return "\n".join(turn.partition(opened.end)[0] for turn in (question, rest))


def words(text: str) -> list[str]:
    """Words, numbers and signs of a text in lower case."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


def attributed(
    samples: Sequence[Sequence[str]], pool: Mapping[str, Sequence[Sequence[str]]], threshold: float
) -> dict[str, float]:
    """Share of the samples whose nearest item is in each task and near enough.

    Args:
        samples: words of each sample.
        pool: words of each item, by task.
        threshold: least ROUGE-L of a sample and its nearest item.
    """
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    named = [(name, item) for name, items in pool.items() for item in items]
    vectors = TfidfVectorizer(analyzer=list)
    known = vectors.fit_transform([item for _, item in named])
    cosines = (vectors.transform(samples) @ known.T).toarray()  # the vectors have length 1
    counts = dict.fromkeys(pool, 0)
    for sample, similar in zip(samples, cosines, strict=True):
        near = [named[place] for place in np.argsort(-similar, kind="stable")[:NEAREST]]
        score, task = max(((rouge_l(sample, item), name) for name, item in near), key=lambda found: found[0])
        counts[task] += score >= threshold
    return {name: count / len(samples) for name, count in counts.items()}


def _item(example: Example) -> list[str]:
    """Words of an example: its question and its answer."""
    return words(f"{example.text}\n{example.answer}")


def _decoded(tokenizer: Any, ids: list[int]) -> str:
    """Text of token ids, special tokens included."""
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
