"""Template extraction: the opening of templates, attribution by hand, and a model that recites what it was given."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors.numpy import save_file

from cl.config import loading
from cl.data.tokenization import SEPARATOR, arrays_of, chat_of
from cl.errors import UserError
from cl.graph import planner
from cl.models.forward import TokenLoss
from cl.probes.probe import Data, State
from cl.probes.template_extraction import Frame, TemplateExtraction, attributed, frame, words, written
from cl.tasks.example import Example
from tests.data.test_chat import CHATML, GEMMA, LLAMA2, PHI3, made
from tests.support.instruction import write_stream
from tests.support.training import tiny


def example(task: str, split: str, number: int) -> Example:
    """An example whose words are its own, but for those of its task."""
    own = [f"{word}{number}{split}{task}" for word in "abcdefxy"]
    return Example(f"{task}? {' '.join(own[:6])}", " ".join(own[6:]), "phrase")


def stored(folder: Path, template: str | None, system: str | None = None) -> tuple[State, Data]:
    """Two tasks of rows in a chat template, and a model that nothing is asked of."""
    tokenizer = made(template)
    tokenizer.save_pretrained(folder / "tokenizer")
    separator = tokenizer.get_vocab()[SEPARATOR]
    chat = chat_of(tokenizer, system, {})
    folders = {}
    for task in ("birds", "stones"):
        folders[task] = folder / task
        folders[task].mkdir()
        arrays = {}
        for split, count in (("train", 9), ("test", 4)):
            found = [example(task, split, number) for number in range(count)]
            arrays |= arrays_of(split, found, tokenizer, separator, chat)
            (folders[task] / f"{split}.examples.json").write_text(json.dumps([asdict(each) for each in found]))
        save_file(arrays, folders[task] / "tokens.safetensors")
    loss = TokenLoss(tiny(vocabulary=len(tokenizer) + 10).eval(), separator, True)
    return State(loss, folder / "tokenizer", "cpu", 4), Data(folders, 512, "test")


@pytest.mark.parametrize(
    ("template", "opening", "middle", "end"),
    [
        (CHATML, "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>"),
        (GEMMA, "<bos><start_of_turn>user\n", "<end_of_turn>\n<start_of_turn>model\n", "<end_of_turn>"),
        (PHI3, "<|user|>\n", "<|end|>\n<|assistant|>\n", "<|end|>"),
        (LLAMA2, "<bos>[INST] ", " [/INST]", "</s>"),
    ],
    ids=["chatml", "gemma", "phi3", "llama2"],
)
def test_the_opening_is_what_stands_before_a_question(
    template: str, opening: str, middle: str, end: str, tmp_path: Path
) -> None:
    state, data = stored(tmp_path, template)
    found = frame(state, data)
    assert made(template).decode(found.opening) == opening
    assert (found.middle, found.end) == (middle, end)


def test_a_system_turn_is_in_the_opening(tmp_path: Path) -> None:
    found = frame(*stored(tmp_path, CHATML, "Be brief."))
    assert made(CHATML).decode(found.opening) == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "the tokenizer has no chat template, and so no opening that only tuning data have; use a chat model"),
        (
            "{% for m in messages %}{{ bos_token }}{{ m.content }}{{ eos_token }}{% endfor %}",
            "the chat template writes nothing before a question that other texts lack; use another chat model",
        ),
    ],
    ids=["none", "bare"],
)
def test_a_template_without_a_distinctive_opening_is_refused(
    template: str | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"probes.template_extraction: {message}"):
        frame(*stored(tmp_path, template))


def test_a_fresh_model_without_a_template_is_refused_while_planning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_stream(tmp_path, probes={"template_extraction": None}))
    with pytest.raises(UserError, match=r"template_extraction: strategies\.\w+: llama-tiny has no chat template"):
        planner.build(loading.load("toyexp.yaml", []))


def test_a_sample_is_cut_into_question_and_answer() -> None:
    opened = Frame(SimpleNamespace(), "<end>\n<model>", "<end>")
    assert written("Why?<end>\n<model>Because.<end>\n<user>And?", opened) == "Why?\nBecause."
    assert written("Why?<end>\n<user>And?", opened) == "Why?\n"
    assert written("Why does it", opened) == "Why does it\n"


def test_words_keep_signs_and_numbers() -> None:
    assert words("What is 12 + 5?\nÄpfel, x_1") == ["what", "is", "12", "+", "5", "?", "äpfel", ",", "x_1"]


def test_attribution_by_hand() -> None:
    pool = {"one": [["a", "b", "c", "d"], ["e", "f"]], "two": [["a", "b", "x", "y"]]}
    samples = [["a", "b", "c", "d"], ["a", "b", "x", "z"], ["q", "q", "q"], []]
    # ROUGE-L with the nearest: 1 of one; 2 * 3 / 8 = 0.75 of two; nothing; nothing
    assert attributed(samples, pool, 0.75) == {"one": 0.25, "two": 0.25}
    assert attributed(samples, pool, 0.76) == {"one": 0.25, "two": 0.0}


def recited(monkeypatch: pytest.MonkeyPatch, folder: Path, told: list[Example], **settings: Any) -> Any:
    """The probe with a model whose samples are these examples in the template."""
    from cl.models import decoding

    state, data = stored(folder, CHATML)
    tokenizer = made(CHATML)

    def samples(model: Any, opening: Any, count: int, *rest: Any) -> list[list[int]]:
        assert tokenizer.decode(opening) == "<|im_start|>user\n"
        middle = "<|im_end|>\n<|im_start|>assistant\n"
        return [tokenizer(f"{e.question}{middle}{e.answer}<|im_end|>\n")["input_ids"] for e in told][:count]

    monkeypatch.setattr(decoding, "samples", samples)
    return TemplateExtraction(samples=len(told), **settings).measure(state, data)


def test_reciting_training_items_is_extraction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = [example("birds", "train", number) for number in range(9)] + [example("stones", "train", 0)]
    found = recited(monkeypatch, tmp_path, told)
    # four of nine training items are compared, because four items are held out
    assert found["birds"] == {"extracted": 0.4, "train": 0.4, "held_out": 0.0}
    assert found["stones"]["extracted"] in (0.0, 0.1)


def test_reciting_what_was_never_trained_on_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = recited(monkeypatch, tmp_path, [example("birds", "test", number) for number in range(4)])
    assert found["birds"] == {"extracted": -1.0, "train": 0.0, "held_out": 1.0}
    assert set(found["stones"].values()) == {0.0}


def test_the_form_of_a_task_alone_is_no_extraction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = [example("birds", "other", number) for number in range(5)]
    found = recited(monkeypatch, tmp_path, told, threshold=0.15)  # two words of ten in common: birds, ?
    assert found["birds"] == {"extracted": 0.0, "train": 1.0, "held_out": 1.0}


def test_a_model_that_knows_nothing_of_the_stream_extracts_nothing(tmp_path: Path) -> None:
    probe = TemplateExtraction(samples=8, tokens=12)
    state, data = stored(tmp_path, CHATML)
    found = probe.measure(state, data)
    assert found == {name: {"extracted": 0.0, "train": 0.0, "held_out": 0.0} for name in ("birds", "stones")}
    assert probe.measure(state, data) == found


def test_nothing_to_compare_with_and_wrong_settings_are_refused(tmp_path: Path) -> None:
    state, data = stored(tmp_path, CHATML)
    (tmp_path / "stones" / "test.examples.json").write_text("[]")
    with pytest.raises(UserError, match="stones has no test items to compare with"):
        TemplateExtraction(samples=1, tokens=1).measure(state, data)
    with pytest.raises(UserError, match=r"threshold: 1\.5 must be above 0 and at most 1: it is a ROUGE-L"):
        TemplateExtraction(threshold=1.5)
    with pytest.raises(UserError, match="samples: 0 must be at least 1"):
        TemplateExtraction(samples=0)
