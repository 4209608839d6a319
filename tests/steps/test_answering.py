"""How a row of R is answered: stop strings, and a server in place of the model in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from cl.errors import UserError
from cl.models import decoding, pretrained
from cl.models.generation import served
from cl.steps.answering import cut
from tests.steps.test_evaluate import COLOURS, Answering
from tests.support.vllm_server import standing_in

GREEDY = decoding.answers


@pytest.fixture
def answering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answering:
    """Rows of R of a toy set of questions, answered by the model."""
    found = Answering(tmp_path, monkeypatch)
    monkeypatch.setattr(decoding, "answers", GREEDY)
    return found


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [("a b", [], "a b"), ("a\nb", ["\n"], "a"), ("abcd", ["d", "bc"], "a"), ("ab", ["x"], "ab"), ("\nb", ["\n"], "")],
)
def test_a_text_is_cut_before_the_first_stop_string(text: str, stop: list[str], expected: str) -> None:
    assert cut(text, stop) == expected


def texts(answering: Answering) -> list[str]:
    return [item["answer"] for item in answering.items()]


def test_an_answer_ends_at_a_stop_string_and_is_not_decoded_further(
    answering: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering.row(COLOURS)
    whole = texts(answering)
    stop = whole[0][2:4]
    lengths: list[int] = []

    def counted(*args: Any, **settings: Any) -> list[list[int]]:
        found = GREEDY(*args, **settings)
        lengths.extend(map(len, found))
        return found

    monkeypatch.setattr(decoding, "answers", counted)
    answering.row(COLOURS)
    free = lengths.copy()
    lengths.clear()
    answering.row(COLOURS, stop=(stop,))
    assert texts(answering) == [cut(text, (stop,)) for text in whole]
    assert lengths[0] < free[0]


def test_a_server_gives_the_same_row(answering: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, expected = answering.row(COLOURS), None
    expected = texts(answering)
    folders: list[Path] = []

    @contextmanager
    def local(model: Path, tokenizer: Path, precision: str, engine: str) -> Iterator[served.Server]:
        folders.append(model)
        loaded = pretrained.load(model).eval()

        def complete(request: dict[str, Any]) -> list[list[int]]:
            asked = [torch.tensor(ids) for ids in request["prompt"]]
            return GREEDY(loaded, asked, request["max_tokens"], 4, request["stop_token_ids"], 0)

        assert engine == "vllm 0.11.2"
        with standing_in(complete, answering.folder) as server:
            yield server

    monkeypatch.setattr(served, "served", local)
    assert answering.row(COLOURS, engine="vllm 0.11.2") == plain
    assert texts(answering) == expected
    assert folders == [answering.folder / "state"]


def test_nothing_is_scored_where_the_server_is_missing(answering: Answering) -> None:
    with pytest.raises(UserError, match=r"evaluation\.engine: this machine has no vllm; pip install vllm==0\.11\.2"):
        answering.row(COLOURS, engine="vllm 0.11.2")
    assert not (answering.folder / "out" / "items").exists()
