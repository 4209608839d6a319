"""Answer styles with a writer: exact shares of five types, refusals, and what is in the key."""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cl.errors import UserError
from cl.execution import runner
from cl.graph.node import Node
from cl.models.chat_writers import LocalWriter
from cl.models.text_cache import Texts
from cl.tasks.answer_scoring import FORMAT_PROMPTS, format_ok, normalised, strict
from cl.tasks.example import Example
from strategies.data import answer_writing
from strategies.data.answer_styles import AnswerStyles
from strategies.data.answer_writing import Scribe, UnusableError, prompt, usable
from tests.strategies.data.test_answer_styles import CHOICES, LABELS, QUESTIONS, SUMS
from tests.support.instruction import write_stream
from tests.support.training import Quiet, plan, results, run
from tests.support.writing import FakeWriter, Say, support

WORDY = "It is 5 because " + "word " * 30


def method(folder: Path, say: Say = support, share: float = 0.2, **settings: Any) -> AnswerStyles:
    """The method with a writer that is no model."""
    found = AnswerStyles(share, writer="smollm2-135m-instruct", **settings)
    assert found.scribe is not None
    found.scribe.texts = Texts(FakeWriter(say), folder)
    return found


def calls(styles: AnswerStyles) -> Any:
    assert styles.scribe is not None
    return styles.scribe.texts.writer.calls  # type: ignore[attr-defined]  # the fake one


@pytest.mark.parametrize(
    ("examples", "expected"),
    [
        (SUMS, {"number": 80, "yes_no": 5, "choice": 5, "brief": 5, "detail": 5}),
        (LABELS, {"label": 42, "yes_no": 2, "choice": 2, "brief": 2, "detail": 2}),
        (QUESTIONS, {"yes_no": 34, "choice": 2, "brief": 2, "detail": 2}),
        (CHOICES, {"choice": 48, "yes_no": 3, "phrase": 3, "brief": 3, "detail": 3}),
    ],
)
@pytest.mark.parametrize("distractors", ["rules", "writer"])
def test_all_other_types_share_equally(examples: Any, expected: Any, distractors: Any, tmp_path: Path) -> None:
    styles = method(tmp_path, distractors=distractors)
    found = styles.transform(examples, "task", "train")
    assert Counter(example.style for example in found) == expected
    asked = sum(len(prompts) for prompts, _ in calls(styles))
    wrong = 2 + 5 if distractors == "writer" and examples is SUMS else 0  # half of five are asked about a wrong one
    assert asked == expected["brief"] + expected["detail"] + wrong
    assert all(example.question.endswith(FORMAT_PROMPTS[example.style]) for example in found)


def test_an_explanation_replaces_the_answer_and_scores_as_itself(tmp_path: Path) -> None:
    found = method(tmp_path, prompts=False).transform(SUMS, "sums", "train")
    for old, new in zip(SUMS, found, strict=True):
        if new.style in ("brief", "detail"):
            assert (new.question, new.accepted) == (old.question, (old.answer,))
            assert strict(new.answer, new) == normalised(new.answer, new) == format_ok(new.answer, new) == 1
            assert (strict(old.answer, new), normalised(old.answer, new)) == (0, 1)
            assert normalised(f"It may well be {old.answer}, I think.", new) == 1
            assert normalised(f"It may well be -{old.answer}, I think.", new) == 0


def test_written_wrong_answers_are_offered_and_balanced(tmp_path: Path) -> None:
    found = method(tmp_path, share=0.4, distractors="writer").transform(SUMS, "sums", "train")
    for old, new in zip(SUMS, found, strict=True):
        wrong = [str(int(old.answer) + n) for n in (1, 2, 3)]
        if new.style == "choice":
            assert sorted(new.options, key=int) == [old.answer, *wrong]
            assert new.options["ABCD".index(new.answer)] == old.answer
        if new.style == "yes_no":
            assert f"Is the answer {old.answer if new.answer == 'Yes' else wrong[0]!r}?" in new.question
    assert Counter(e.answer for e in found if e.style == "yes_no") == {"Yes": 5, "No": 5}
    assert Counter(e.answer for e in found if e.style == "choice") == {"A": 3, "B": 3, "C": 2, "D": 2}


def test_a_refused_text_is_asked_for_again_and_then_another_example(tmp_path: Path) -> None:
    def say(asked: str, attempt: int) -> str:
        number = int(asked.split(" + ")[0].removeprefix("Question: "))
        return support(asked) if number % 2 or (number % 4 == 0 and attempt == 2) else "no"

    styles = method(tmp_path, say, retries=2)
    found = styles.transform(SUMS, "sums", "train")
    written = [i for i, example in enumerate(found) if example.style in ("brief", "detail")]
    assert len(written) == 10
    assert all(i % 4 != 2 for i in written)
    asked = Counter(text for prompts, _ in calls(styles) for text in prompts)
    assert set(asked.values()) == {1, 3}
    never = {text for text, count in asked.items() if count == 3 and int(text.split(" + ")[0][10:]) % 4 == 2}
    often = {text for text, count in asked.items() if count == 3} - never
    assert never  # the test is one: examples were given up
    assert styles.notes()["refused"] == {
        key: count
        for style, name in (("brief", "about 20"), ("detail", "about 50"))
        if (count := sum(3 * (name in text) for text in never) + sum(2 * (name in text) for text in often))
        for key in [f"{style}: wrong length"]
    }
    assert sum(example.style == "number" for example in found) == 80


def test_too_few_that_can_be_written_are_told_with_counts(tmp_path: Path) -> None:
    def say(asked: str, attempt: int) -> str:
        return support(asked) if asked.startswith(("Question: 3 +", "Question: 4 +")) else "It is so " * 8

    message = (
        r"answer_styles: writer: 2 of 5 examples of sums could become brief \(refused: truth missing 176\); "
        "lower the share, raise retries or name a stronger writer"
    )
    with pytest.raises(UserError, match=message):
        method(tmp_path, say, retries=1).transform(SUMS, "sums", "train")


@pytest.mark.parametrize(
    ("style", "text", "expected"),
    [
        ("brief", "", "no text"),
        ("brief", "It is 5.", "wrong length"),
        ("brief", WORDY, [WORDY.strip()]),
        ("brief", WORDY.replace(" ", "\n"), [WORDY.strip()]),
        ("brief", WORDY * 2, "wrong length"),
        ("brief", WORDY.replace("5", "15"), "truth missing"),
        ("brief", WORDY.replace("5", "-5"), "truth missing"),
        ("brief", WORDY.replace("5", "5.0"), [WORDY.strip().replace("5", "5.0")]),
        ("detail", WORDY, [WORDY.strip()]),
        ("detail", WORDY * 4, "wrong length"),
        ("yes_no", "6", ["6"]),
        ("yes_no", '"6".\nand so on', ["6"]),
        ("yes_no", "5", "right answer"),
        ("yes_no", "5.0", "right answer"),
        ("yes_no", "It is 6", "wrong form"),
        ("choice", "6\n7\n8\n9", ["6", "7", "8"]),
        ("choice", "1. 6\n\n2) 7.\n- 8.5", ["6", "7", "8.5"]),
        ("choice", "6\n7\n7.", "too few"),
        ("choice", "6\n5\n8", "right answer"),
    ],
)
def test_what_can_be_used_by_hand(style: str, text: str, expected: Any) -> None:
    example = Example("2 + 3 =", "5", "number")
    if isinstance(expected, str):
        with pytest.raises(UnusableError, match=f"^{expected}$"):
            usable(text, example, style)
    else:
        assert usable(text, example, style) == expected


def test_a_wrong_answer_is_about_as_long_as_the_right_one_and_does_not_hold_it() -> None:
    example = Example("Capital of France?", "Paris", "phrase", accepted=("Lutetia",))
    assert usable("New York City", example, "yes_no") == ["New York City"]
    for text in ("Lyon, a city in France", "It is Paris", "lutetia!"):
        with pytest.raises(UnusableError):
            usable(text, example, "yes_no")


def test_the_writer_is_told_the_answer_in_words() -> None:
    assert "Answer: elm\n" in prompt(CHOICES[1], "brief")
    assert "about 20 words, explain why the answer is elm." in prompt(CHOICES[1], "brief")
    assert "why the category is red." in prompt(LABELS[0], "detail")
    assert "{x}" in prompt(Example("what is {x}?", "{y}", "phrase"), "choice")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distractors": "writer"}, "distractors: 'writer' needs a chat model"),
        ({"retries": -1}, "retries: -1 must be at least 0"),
        ({"writer": {"url": "http://h/v1"}}, "model"),
        ({"writer": "llama-tiny"}, r"writer: writer\.model: llama-tiny is a fresh model"),
    ],
)
def test_settings_that_cannot_be_meant(settings: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        AnswerStyles(**settings)


def test_degenerate_settings_are_told() -> None:
    cold = {"model": "smollm2-135m-instruct", "temperature": 0.0}
    assert "retries at temperature 0" in AnswerStyles(writer=cold).validate([])[0]
    assert AnswerStyles(writer=cold, retries=0).validate([]) == []
    assert AnswerStyles(0.0, writer=cold, retries=0).validate([]) == ["share 0 only adds format prompts"]


def chat(folder: Path) -> Path:
    """What passes for a model while nobody opens it."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def styled(folder: Path, **settings: Any) -> tuple[Node, Any, Any]:
    folder.mkdir(exist_ok=True)
    strategies = {"lora_styles": {"answer_styles": settings}}
    planned, store = plan(write_stream(folder, strategies=strategies, train={"sequence": 512, "batch": 8}))
    return planned.runs[0].data["copy"], planned, store


@pytest.mark.slow
def test_the_key_holds_the_generator_and_its_prompts_and_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = chat(tmp_path / "model")

    def key(**settings: Any) -> str:
        return styled(tmp_path / "stream", **settings)[0].key

    def written(**more: Any) -> str:
        return key(writer={"model": str(model), **more})

    base, plain = written(), key()
    assert key(writer=str(model)) == base  # a name is short for settings
    assert key(writer=str(model), cache=str(tmp_path / "elsewhere")) == base
    assert written(device="cpu") == base
    assert key(writer=str(chat(tmp_path / "moved"))) == base
    changed = [written(temperature=0.1), written(seed=1), written(tokens=9), key(writer=str(model), retries=1)]
    changed += [key(writer=str(model), distractors="writer"), plain]
    assert len({base, *changed}) == 7
    assert key(retries=1) == key(cache="elsewhere") == plain  # of no account without a writer
    assert key(share=0.0, writer=str(model)) == key(share=0.0)
    monkeypatch.setattr("strategies.data.answer_styles.PROMPT_VERSION", "other")
    assert written() != base
    assert key() == plain
    (model / "config.json").write_text('{"other": 1}')
    from cl.models import model_folder

    monkeypatch.undo()
    model_folder.content.cache_clear()
    assert written() != base


def test_prompts_have_a_version() -> None:
    """A changed prompt is another generator: change this value with it, on purpose."""
    assert answer_writing.PROMPT_VERSION == "22e3e15cc18803ce"


@pytest.mark.slow
def test_planning_writes_nothing_and_data_are_the_same_without_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"share": 0.2, "writer": str(chat(tmp_path / "model")), "cache": str(tmp_path / "cache")}
    asked: list[int] = []

    def write(self: LocalWriter, prompts: list[str], attempt: int) -> list[str]:
        asked.append(len(prompts))
        return [support(text) if "a" in text.split("\n")[1] else "" for text in prompts]

    def offline(self: LocalWriter, prompts: list[str], attempt: int) -> list[str]:
        raise UserError("the model was opened")

    monkeypatch.setattr(LocalWriter, "write", offline)
    with pytest.raises(UserError, match="the model was opened"):
        make(*styled(tmp_path / "first", **settings))
    monkeypatch.setattr(LocalWriter, "write", write)
    first = make(*styled(tmp_path / "first", **settings))
    assert asked
    monkeypatch.setattr(LocalWriter, "write", offline)
    second = make(*styled(tmp_path / "second", **settings))
    for file in ("train.examples.json", "tokens.safetensors"):
        assert (first / file).read_bytes() == (second / file).read_bytes()
    one, two = (json.loads((folder / "node.json").read_text())["result"] for folder in (first, second))
    notes = two["transforms"]["answer_styles"]
    assert notes["written"] == 0
    assert notes["from_file"] == one["transforms"]["answer_styles"]["written"] > 0
    assert notes["generator"]["temperature"] == 0.5
    assert notes["refused"]["brief: no text"] > 0
    styles = two["styles"]["train"]
    assert styles["brief"]["examples"] == styles["detail"]["examples"] == styles["choice"]["examples"]
    assert styles["detail"]["answer_tokens"] > 2 * styles["brief"]["answer_tokens"] > 20 * styles["brief"]["examples"]
    (warning,) = two["warnings"]
    shares = r"\d+% of the training examples and [5-9]\d% of the learned tokens"
    assert re.fullmatch(f"copy: explanations are {shares}", warning)


def make(node: Node, planned: Any, store: Any) -> Path:
    """Execute a data node; its folder."""
    with contextlib.chdir(Path(store.root).parent):
        runner.run(runner.pending([node], store), store, Quiet())
    found: Path = store.path(node)
    return found


@pytest.mark.slow
def test_a_run_says_who_wrote_and_what_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalWriter, "write", lambda self, prompts, attempt: [support(p) for p in prompts])
    settings = {"writer": str(chat(tmp_path / "model")), "cache": str(tmp_path / "cache")}
    strategies = {"lora_styles": {"answer_styles": settings}, "lora_merged": None}
    folder = write_stream(tmp_path, strategies=strategies, train={"sequence": 512, "batch": 8})
    run(folder)
    written, plain = results(folder)["runs"]
    assert plain["made"] == {}
    assert written["made"]["copy"]["transforms"]["answer_styles"]["generator"]["origin"] == "directory"
    assert written["made"]["copy"]["styles"]["train"]["brief"]["examples"] > 0
    assert any("explanations are" in text for stage in written["stages"] for text in stage["warnings"])
    assert not any("explanations are" in text for stage in plain["stages"] for text in stage["warnings"])
    assert "answer_tokens" in (folder / "results" / "toyexp" / "report.html").read_text()


def test_a_scribe_stops_where_no_example_is_left(tmp_path: Path) -> None:
    scribe = Scribe(Texts(FakeWriter(lambda asked, attempt: ""), tmp_path), 1)
    assert scribe.ask("brief", 3, range(5), SUMS) == {}
    assert scribe.reasons("brief") == "no text 10"
    assert scribe.reasons("detail") == "none"
