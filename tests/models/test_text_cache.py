"""Texts on disk: written once, found again, and what a kill or a second process leaves behind."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from cl.models.text_cache import Texts
from tests.support.writing import FakeWriter

PROMPTS = ["a", "b", "c", "d", "e"]


def echo(prompt: str, attempt: int) -> str:
    return f"{prompt} {attempt} ü\n語"


def lines(texts: Texts) -> list[str]:
    return texts.file.read_text(encoding="utf-8").splitlines()


def test_what_is_on_disk_is_not_written_again(tmp_path: Path) -> None:
    first, second = FakeWriter(echo), FakeWriter(echo)
    made = Texts(first, tmp_path).write(PROMPTS, 0)
    assert made == [echo(prompt, 0) for prompt in PROMPTS]
    assert [asked for asked, _ in first.calls] == [PROMPTS[:4], PROMPTS[4:]]
    again = Texts(second, tmp_path)
    assert again.write(PROMPTS, 0) == made
    assert (second.calls, again.found, again.written) == ([], 5, 0)


def test_a_line_says_where_its_text_comes_from(tmp_path: Path) -> None:
    texts = Texts(FakeWriter(echo, revision="r1"), tmp_path)
    texts.write(["a"], 2)
    (entry,) = map(json.loads, lines(texts))
    assert (entry["text"], entry["attempt"], entry["generator"]) == (echo("a", 2), 2, texts.writer.identity)
    assert entry["prompt"] == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"  # sha256 of "a"
    assert entry["time"].endswith("+00:00")


def test_attempts_prompts_and_generators_have_texts_of_their_own(tmp_path: Path) -> None:
    writer, other = FakeWriter(echo), FakeWriter(echo, seed=1)
    for texts in (Texts(writer, tmp_path), Texts(other, tmp_path)):
        texts.write(["a"], 0)
        texts.write(["a"], 1)
        texts.write(["b", "b"], 0)
    assert len(writer.calls) == len(other.calls) == 3
    assert writer.calls[-1] == (["b"], 0)  # asked once, though twice in a block
    assert len(list(tmp_path.glob("*.jsonl"))) == 2


def test_only_what_is_missing_of_a_block_is_written_and_blocks_do_not_move(tmp_path: Path) -> None:
    Texts(FakeWriter(echo), tmp_path).write(["b"], 0)
    writer = FakeWriter(echo)
    texts = Texts(writer, tmp_path)
    assert texts.write(PROMPTS, 0) == [echo(prompt, 0) for prompt in PROMPTS]
    assert [asked for asked, _ in writer.calls] == [["a", "c", "d"], ["e"]]
    assert (texts.found, texts.written) == (1, 4)


@pytest.mark.parametrize("cut", [1, 20])
def test_a_line_that_was_cut_off_is_left_out_with_a_warning(cut: int, tmp_path: Path) -> None:
    whole = Texts(FakeWriter(echo, batch=1), tmp_path)
    whole.write(["a", "b"], 0)
    content = whole.file.read_bytes()
    whole.file.write_bytes(content[: -cut - 1])  # without its end, and more
    writer = FakeWriter(echo, batch=1)
    texts = Texts(writer, tmp_path)
    assert texts.write(["a", "b", "c"], 0) == [echo(prompt, 0) for prompt in "abc"]
    assert [asked for asked, _ in writer.calls] == [["b"], ["c"]]
    assert texts.warnings == [f"{whole.file}, line 2: is damaged and left out; its text is written anew"]
    last = FakeWriter(echo, batch=1)
    assert Texts(last, tmp_path).write(["a", "b", "c"], 0) == [echo(prompt, 0) for prompt in "abc"]
    assert last.calls == []


def test_a_last_line_that_lacks_its_end_alone_is_taken(tmp_path: Path) -> None:
    texts = Texts(FakeWriter(echo), tmp_path)
    texts.write(["a"], 0)
    texts.file.write_bytes(texts.file.read_bytes().removesuffix(b"\n"))
    writer = FakeWriter(echo)
    again = Texts(writer, tmp_path)
    again.write(["a", "b"], 0)
    assert ([asked for asked, _ in writer.calls], again.warnings) == ([["b"]], [])
    assert len(lines(again)) == 2


def test_a_kill_while_writing_loses_the_block_alone(tmp_path: Path) -> None:
    def dies(prompt: str, attempt: int) -> str:
        if prompt == "c":
            raise KeyboardInterrupt
        return echo(prompt, attempt)

    with pytest.raises(KeyboardInterrupt):
        Texts(FakeWriter(dies, batch=1), tmp_path).write(PROMPTS, 0)
    writer = FakeWriter(echo, batch=1)
    Texts(writer, tmp_path).write(PROMPTS, 0)
    assert [asked for asked, _ in writer.calls] == [["c"], ["d"], ["e"]]


def _write(folder: str, name: str) -> None:
    Texts(FakeWriter(lambda prompt, attempt: f"{prompt} by {name} " + "x" * 5000, batch=2), Path(folder)).write(
        [str(i) for i in range(20)], 0
    )


@pytest.mark.slow
def test_two_processes_agree_on_every_text(tmp_path: Path) -> None:
    start = multiprocessing.get_context("spawn")
    processes = [start.Process(target=_write, args=(str(tmp_path), name)) for name in "pq"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    texts = Texts(FakeWriter(echo, batch=2), tmp_path)
    found = texts.write([str(i) for i in range(20)], 0)
    assert (texts.written, texts.warnings, len(lines(texts))) == (0, [], 20)
    assert all(text.startswith(f"{i} by ") for i, text in enumerate(found))
