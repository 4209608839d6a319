"""The data node: every byte and token accounted for, views, and what its transforms reach."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file
from transformers import AutoTokenizer

from cl.config.model import Model
from cl.data import encoding, text_rounds, token_files
from cl.data.rows import rows
from cl.data.tokenization import examples
from cl.execution import runner
from cl.graph.roles import TOKENIZER, Inputs
from cl.graph.roles import data as data_role
from cl.graph.specs import DataSpec, Local
from cl.steps import data
from cl.steps import tokenizer as tokenizer_
from cl.training.validation import bytes_per_token
from tests.support.instruction import write_stream
from tests.support.mixture import mixed
from tests.support.steps import context
from tests.support.training import TEXTS, Quiet, execute, plan


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tokenizer_._train_bpe(documents("english"), 300)


def documents(name: str, count: int = 40) -> Iterator[str]:
    yield from (TEXTS / f"{name}.txt").read_text(encoding="utf-8").split("\n\n")[:count]


def test_data_node_accounts_for_every_byte_and_token(tmp_path: Path, tokenizer: Any) -> None:
    text = "\n\n".join(documents("english"))
    (tmp_path / "english.txt").write_text(text, encoding="utf-8")
    (tmp_path / "one.yaml").write_text(
        "{summary: one, version: 1, split: {validation: 0.2, test: 0.2},"
        ' tasks: {english: {sources: [{source: files, path: english.txt, separator: "\\n\\n"}]}}}'
    )
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    step = context(tmp_path, Local(str(tmp_path / "one.yaml"), Model(name="any")))
    result = data.run(DataSpec("english", "content"), Inputs({TOKENIZER: tmp_path / "tokenizer"}), step)
    assert sum(result["report"]["bytes"].values()) == len("".join(documents("english")).encode())
    for split in data.SPLITS:
        packed: Any = rows(step.out, "english", split, 8)
        assert packed.tokens.size == result["tokens"][split]
        assert int((packed.tokens == 0).sum()) == result["report"]["documents"][split] + 1
        inside = tokenizer.decode([token for token in packed.tokens.tolist() if token != 0])
        assert len(inside.encode()) == result["report"]["bytes"][split]
        expected = result["report"]["bytes"][split] / (packed.tokens.size - 1)
        assert bytes_per_token(result, split) == pytest.approx(expected)


class KilledError(Exception):
    """In place of a signal."""


def test_a_killed_node_goes_on_from_its_last_round(tmp_path: Path, tokenizer: Any, monkeypatch: Any) -> None:
    (tmp_path / "english.txt").write_text("\n\n".join(documents("english")), encoding="utf-8")
    (tmp_path / "one.yaml").write_text(
        "{summary: one, version: 1, split: {validation: 0.2, test: 0.2},"
        ' tasks: {english: {sources: [{source: files, path: english.txt, separator: "\\n\\n"}]}}}'
    )
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    monkeypatch.setattr(text_rounds, "ROUND", 2000)
    encoded: list[str] = []
    append = token_files.Growing.append

    def noted(texts: list[str], found: Any) -> Any:
        encoded.extend(texts)
        return encoding.encoded(texts, found)

    monkeypatch.setattr(text_rounds, "encoded", noted)

    def run(name: str) -> tuple[dict[str, Any], bytes]:
        step = context(tmp_path / name, Local(str(tmp_path / "one.yaml"), Model(name="any")))
        result = data.run(DataSpec("english", "content"), Inputs({TOKENIZER: tmp_path / "tokenizer"}), step)
        return result, (step.out / token_files.FILE).read_bytes()

    def kill(self: Any, *args: Any) -> None:
        append(self, *args)
        raise KilledError

    whole, texts = run("whole"), encoded.copy()
    encoded.clear()
    monkeypatch.setattr(token_files.Growing, "append", kill)
    kills = 0
    while len(encoded) < len(texts):
        kills += 1
        with pytest.raises(KilledError):
            run("broken")
    monkeypatch.setattr(token_files.Growing, "append", append)
    assert run("broken") == whole
    assert encoded == texts  # none twice
    assert kills > 4


def test_format_prompts_reach_training_and_test(tmp_path: Path) -> None:
    folder = write_stream(tmp_path, strategies={"lora_styles": None, "lora_merged": None})
    planned, store = plan(folder)
    styled, plain = (each.data["which"] for each in planned.runs)
    assert styled.key != plain.key
    with contextlib.chdir(folder):
        runner.run(runner.pending([styled], store), store, Quiet())
    for split in ("train", "validation", "test"):
        stored = json.loads((store.path(styled) / f"{split}.examples.json").read_text())
        assert all("Answer with" in example["question"] for example in stored)


def test_a_view_has_no_chat_marker_and_keeps_to_the_split_of_the_questions(tmp_path: Path) -> None:
    folder = mixed(tmp_path)
    graph, store = plan(folder)
    node = graph.runs[0].stages[0].node
    view, chat = node.parents[data_role("plain:chat")], graph.data["chat"]
    for wanted in (view, chat):
        execute(folder, wanted, store)
    assert view.key != chat.key
    arrays = load_file(store.path(view) / "tokens.safetensors")
    assert set(arrays) == {"train", "validation", "test"}
    tokenizer = AutoTokenizer.from_pretrained(store.path(node.parents[TOKENIZER]))
    text = tokenizer.decode(arrays["train"].tolist())
    assert all(f"{one.question}\n{one.answer}" in text for one in examples(store.path(chat), "train"))
    assert not any(one.question + "\n" in text for one in examples(store.path(chat), "test"))
    assert "<|im_start|>" not in text
