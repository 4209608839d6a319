"""Order of segments: the pairs, models that prefer a label, read or remember, and likelihoods by the model itself."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cl.data.batches import Batch
from cl.data.tokenization import separator_of
from cl.errors import UserError
from cl.models.forward import TokenLoss
from cl.probes.probe import Data, State
from cl.probes.segment_order import Pair, SegmentOrder, draw, question
from cl.steps import tokenizer as tokenizer_
from tests.data.test_chat import CHATML, made
from tests.support.packed import packed
from tests.support.training import execute, plan, tiny, write_toy

WORDS = [f"w{number}" for number in range(1000)]
KEYS = ("sort_in_context", "sort_from_memory", "sort_nll")
SETTINGS: dict[str, Any] = {"segment": 3, "excerpt": 12, "pairs": 10}


def texts(first: int, documents: int = 6, words: int = 25) -> list[str]:
    """Documents of numbered words, no word twice."""
    return [" ".join(WORDS[first + words * n : first + words * (n + 1)]) for n in range(documents)]


def number(word: str) -> int:
    return int(word.removeprefix("w"))


@pytest.mark.parametrize("seed", range(20))
def test_pairs_are_two_segments_of_an_excerpt_in_order_and_half_are_swapped(seed: int) -> None:
    pairs = draw(texts(0), 9, 3, 12, random.Random(seed))
    assert len(pairs) == 8
    assert sum(pair.swapped for pair in pairs) == 4  # exactly one half
    assert len({pair.excerpt for pair in pairs}) == 8
    for pair in pairs:
        assert len(pair.excerpt.split()) <= 12
        assert pair.first in pair.excerpt
        assert pair.second in pair.excerpt
        assert [len(segment.split()) for segment in (pair.first, pair.second)] == [3, 3]
        assert number(pair.first.split()[-1]) < number(pair.second.split()[0])


def test_all_places_of_two_segments_are_drawn_and_pairs_are_repeatable() -> None:
    text, seen = " ".join(WORDS[:8]), set()
    for seed in range(200):
        (pair, _) = draw([text, text], 2, 3, 8, random.Random(seed))
        seen.add((number(pair.first.split()[0]), number(pair.second.split()[0])))
    assert seen == {(early, late) for early in range(6) for late in range(early + 3, 6)}
    assert draw(texts(0), 6, 3, 12, random.Random(1)) == draw(texts(0), 6, 3, 12, random.Random(1))


def test_short_documents_give_no_pairs() -> None:
    assert draw(["a b c d e"], 4, 3, 12, random.Random(0)) == []
    assert draw(["a b c d e f"], 4, 3, 12, random.Random(0)) == []  # one excerpt is no even number


def test_the_excerpt_is_in_the_question_as_often_as_asked() -> None:
    pair = Pair("the text of it", "the text", "of it", swapped=True)
    assert [question(pair, times).count("the text of it") for times in (0, 1, 2)] == [0, 1, 2]
    for times in (0, 1, 2):
        assert question(pair, times).endswith(
            "\nSegment A: of it\nSegment B: the text\nWhich segment came first, Segment A or Segment B?"
        )


class Model:
    """In place of a model: it reads each prompt as text and says how much likelier label A is than label B."""

    context: int | None = None

    def __init__(self, tokenizer: Any, says: Callable[[str], float]) -> None:
        self.tokenizer, self.says, self.prompts = tokenizer, says, list[str]()
        self.separator = tokenizer.get_vocab()[separator_of(tokenizer)]
        self.backbone = SimpleNamespace(context=self.context)
        a, b = (tokenizer(f" {name}", add_special_tokens=False)["input_ids"] for name in "AB")
        self.a, self.b = next((one, other) for one, other in zip(a, b, strict=True) if one != other)

    def outputs(self, batch: Batch) -> Any:
        if int(batch.learned()) == len(batch.ids):
            return self._labels(batch)
        assert batch.targets is not None
        values = torch.zeros(int(batch.learned()), len(self.tokenizer))
        return SimpleNamespace(logits=lambda: values, targets=batch.targets[batch.targets >= 0])

    def _labels(self, batch: Batch) -> Any:
        assert batch.targets is not None
        logits = torch.zeros(len(batch.ids), len(self.tokenizer))
        for row, (ids, targets) in enumerate(zip(batch.ids, batch.targets, strict=True)):
            prompt = self.tokenizer.decode(ids[: int((targets >= 0).nonzero()[0]) + 1])
            self.prompts.append(prompt)
            logits[row, self.a] = self.says(prompt)
        return SimpleNamespace(logits=lambda: logits)


@pytest.fixture(params=["plain", "chat"])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Tokenizers without a chat template and with one, stored."""
    found = tokenizer_._train_bpe(iter(texts(0, 40)), 500) if request.param == "plain" else made(CHATML)
    found.save_pretrained(tmp_path)
    return found


def measured(tokenizer: Any, folder: Path, model: Model, **settings: Any) -> dict[str, float]:
    """The probe on one task whose splits hold other words."""
    splits = {"train": texts(0), "test": texts(500)}
    tokens = {split: packed(documents, tokenizer, model.separator) for split, documents in splits.items()}

    class Fixed(Data):
        def rows(self, name: str, split: str) -> Any:
            from cl.data.rows import PackedRows

            return PackedRows(tokens[split], 8)

    state = State(model, folder, "cpu", 4)
    return SegmentOrder(**{**SETTINGS, **settings}).measure(state, Fixed({"one": folder}, 8, "test"))["one"]


def segments(prompt: str) -> tuple[str, str]:
    """Segments A and B of a prompt."""
    a, rest = prompt.partition("\nSegment A: ")[2].split("\nSegment B: ")
    return a, rest.split("\n")[0]


@pytest.mark.parametrize("preference", [1.0, -1.0, 0.0])
def test_a_preference_for_a_label_is_worth_one_half(preference: float, tokenizer: Any, tmp_path: Path) -> None:
    found = measured(tokenizer, tmp_path, Model(tokenizer, lambda prompt: preference))
    assert list(found) == [f"{key}{end}" for end in ("", "_unseen") for key in KEYS]
    assert {found[f"{key}{end}"] for end in ("", "_unseen") for key in KEYS[:2]} == {0.5}


def test_who_reads_the_excerpt_is_right_with_it_and_guesses_without(tokenizer: Any, tmp_path: Path) -> None:
    def read(prompt: str) -> float:
        excerpt = prompt.partition("Read this excerpt: ")[2].partition("\n")[0]
        a, b = segments(prompt)
        return float(excerpt.find(b) - excerpt.find(a)) if excerpt else 1.0

    found = measured(tokenizer, tmp_path, Model(tokenizer, read))
    assert [found[f"sort_in_context{end}"] for end in ("", "_unseen")] == [1.0, 1.0]
    assert [found[f"sort_from_memory{end}"] for end in ("", "_unseen")] == [0.5, 0.5]


def test_who_remembers_what_was_studied_is_right_about_that_alone(tokenizer: Any, tmp_path: Path) -> None:
    def remember(prompt: str) -> float:
        a, b = (number(segment.split()[0]) for segment in segments(prompt))
        return float(b - a) if a < 500 else 0.0  # the words of the training split

    found = measured(tokenizer, tmp_path, Model(tokenizer, remember))
    assert (found["sort_from_memory"], found["sort_from_memory_unseen"]) == (1.0, 0.5)


def test_repeating_the_context_changes_no_other_prompt(tokenizer: Any, tmp_path: Path) -> None:
    once, twice = Model(tokenizer, lambda prompt: 0.0), Model(tokenizer, lambda prompt: 0.0)
    measured(tokenizer, tmp_path, once)
    measured(tokenizer, tmp_path, twice, repeat_context=2)
    excerpt = "Read this excerpt: "
    assert [prompt for prompt in once.prompts if excerpt not in prompt] == [
        prompt for prompt in twice.prompts if excerpt not in prompt
    ]
    assert {prompt.count(excerpt) for prompt in once.prompts} == {0, 1}
    assert {prompt.count(excerpt) for prompt in twice.prompts} == {0, 2}
    assert all(prompt.rstrip().endswith("Answer: Segment") for prompt in once.prompts)


def test_likelihoods_are_those_of_the_text_in_both_orders(tmp_path: Path) -> None:
    from cl.probes.segment_order import _Asking

    tokenizer = tokenizer_._train_bpe(iter(texts(0, 40)), 300)
    tokenizer.save_pretrained(tmp_path)
    model = tiny("llama-tiny", vocabulary=300).eval()
    model.get_output_embeddings().weight.data *= 30  # so that no two texts are equally likely
    separator = tokenizer.get_vocab()[separator_of(tokenizer)]
    pairs = draw(texts(0), 10, 3, 12, random.Random(0))

    def nll(text: str) -> float:
        ids = torch.tensor([[separator, *tokenizer(text)["input_ids"]]])
        return float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)

    with torch.no_grad():
        likelier = [nll(f"{p.first} {p.second}") < nll(f"{p.second} {p.first}") for p in pairs]
        asking = _Asking(State(TokenLoss(model, separator, True), tmp_path, "cpu", 3))
        assert asking.likelihoods(pairs) == sum(likelier) / 10
    assert 0 < sum(likelier) < 10


def test_a_prompt_that_the_model_cannot_read_is_refused(tokenizer: Any, tmp_path: Path) -> None:
    class Short(Model):
        context = 30

    with pytest.raises(UserError, match=r"a prompt of \d+ tokens exceeds the model's context of 30; lower `excerpt`"):
        measured(tokenizer, tmp_path, Short(tokenizer, lambda prompt: 0.0))


def test_too_little_text_and_wrong_settings_are_refused(tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the train split of one has fewer than two excerpts of 40 words; lower `segm"):
        measured(tokenizer, tmp_path, Model(tokenizer, lambda prompt: 0.0), segment=20, excerpt=100)
    with pytest.raises(UserError, match="excerpt: 250 words do not hold two segments of 200; raise it"):
        SegmentOrder(segment=200)
    with pytest.raises(UserError, match="pairs: 1 must be at least 2"):
        SegmentOrder(pairs=1)


@pytest.mark.slow
def test_an_untrained_model_guesses(tmp_path: Path) -> None:
    probes = {"segment_order": {"segment": 5, "excerpt": 20, "pairs": 30}}
    folder = write_toy(tmp_path, probes=probes, train={"sequence": 64})
    graph, store = plan(folder)
    row = graph.runs[0].probes["segment_order"][0]
    execute(folder, row, store)
    for values in store.result(row)["measures"].values():
        assert len(values) == 6
        for key, value in values.items():
            assert (2 * 30 * value).is_integer()
            assert value == pytest.approx(0.5, abs=2.6 * 0.5 / 30**0.5), key  # 99 % of a fair coin
