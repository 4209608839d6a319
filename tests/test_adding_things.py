"""A kind of node, a launcher and a score of answers are added by one file, and one row of a table where there is one.

Methods, probes and metrics are added by the examples of their pages: tests/docs.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import pytest

import cl.tasks.answer_scores
from cl.execution import runner
from cl.execution.launchers import launcher
from cl.graph.kinds import KINDS, Kind
from cl.graph.node import Node
from cl.graph.roles import TOKENIZER
from tests.support.instruction import write_stream
from tests.support.training import Silent, plan, results, run, write_toy

KIND = '''
"""Compute a length node: the size of the tokenizer's vocabulary, times a factor."""

from __future__ import annotations

from dataclasses import dataclass

from cl.graph.roles import TOKENIZER
from cl.graph.specs import Spec
from cl.graph.stored import result_of


@dataclass(frozen=True)
class LengthSpec(Spec):
    """Of a length node. factor: the factor."""

    kind = "length"
    factor: int


def run(spec, inputs, context):
    """Return the size."""
    size = spec.factor * result_of(inputs[TOKENIZER])["vocabulary"]
    (context.out / "size.txt").write_text(str(size))
    return {"size": size}
'''

LAUNCHER = '''
"""Compute nodes backwards in the mind and forwards in fact."""

from cl.execution import runner


class Counting:
    waits = True
    seen = []

    def __init__(self, experiment):
        pass

    def launch(self, todo, store, listener, command):
        self.seen += [node.kind for node in todo]
        runner.run(todo, store, listener)

    def jobs(self, todo):
        return []
'''

SCORE = '''
"""1 where the answer is one word."""


def score(prediction, example):
    """Score a prediction."""
    return float(len(prediction.split()) == 1)
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules can be imported."""
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_a_kind_of_node(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own / "length_step.py").write_text(KIND)
    monkeypatch.setitem(KINDS, "length", Kind("length_step", "length_step:LengthSpec", ("tokenizers",), 0.1))
    folder = write_toy(tmp_path / "toy")
    graph, store = plan(folder)
    tokenizer = graph.base.parents[TOKENIZER]
    spec = KINDS["length"].specification()(factor=2)  # type: ignore[call-arg]
    node = Node("twice", spec, {TOKENIZER: tokenizer})
    with contextlib.chdir(folder):
        runner.run(runner.pending([node], store), store, Silent())
    assert store.result(node)["size"] == 600
    assert (store.path(node) / "size.txt").read_text() == "600"


@pytest.mark.slow
def test_a_launcher(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own / "counting.py").write_text(LAUNCHER)
    monkeypatch.setitem(launcher.LAUNCHERS, "counting", "counting:Counting")
    folder = write_toy(tmp_path / "toy")
    run(folder, "--launcher=counting", "--upto=1")
    assert sys.modules["counting"].Counting.seen.count("train") == 1


@pytest.mark.slow
def test_a_score_of_answers_trains_nothing_again(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_stream(tmp_path, examples=16)
    before, _ = plan(folder)
    (own / "one_word.py").write_text(SCORE)
    monkeypatch.setattr(cl.tasks.answer_scores, "__path__", [*cl.tasks.answer_scores.__path__, str(own)])
    after, _ = plan(folder)
    kept = {node.key for node in before.nodes} & {node.key for node in after.nodes}
    moved = {node.kind for node in after.nodes if node.key not in kept}
    assert moved == {"evaluate"}
    run(folder)
    (row,) = {tuple(cell["scores"]) for cell in results(folder)["runs"][0]["matrix"]["1"].values()}
    assert set(row) == {"format_ok", "normalised", "one_word", "strict"}
