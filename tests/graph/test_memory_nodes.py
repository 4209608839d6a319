"""Retrieve and embed nodes: which rows have them, what they read, and what they share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cl.errors import UserError
from cl.graph.measurement_specs import EmbedSpec, RetrieveSpec
from cl.graph.node import Node
from cl.graph.planner import Graph, RunPlan
from cl.graph.roles import QUERIES, STATE, data
from tests.support.graph import by_label
from tests.support.instruction import write_stream
from tests.support.nodes import spec_of
from tests.support.training import plan, write_strategy, write_toy

SETS = ("copy", "which")


def graph_of(folder: Path, *settings: str) -> Graph:
    return plan(folder, *settings)[0]


def shown(row: Node, name: str) -> Node:
    """The retrieve node of a set in a row of R."""
    node = row.parents[data(name)]
    assert node.kind == "retrieve"
    return node


def memory(node: Node) -> list[str]:
    """The tasks whose examples a retrieve node reads, in their order."""
    roles = sorted((role for role in node.parents if role.kind == "memory"), key=lambda role: role.place or 0)
    return [str(role.name) for role in roles]


def stored(run: RunPlan, row: int) -> list[str]:
    found = [memory(shown(run.rows[row], name)) for name in SETS]
    assert found[0] == found[1]
    return found[0]


def test_prompts_that_are_written_anew_would_lose_the_examples(tmp_path: Path) -> None:
    folder = write_stream(tmp_path, strategies={"retrieval_bm25": None})
    with pytest.raises(UserError, match="evaluation: choice_orders and repeat_context do not fit bm25; leave one out"):
        graph_of(folder, "--evaluation.repeat_context=2")


def test_the_memory_grows_with_the_rows_and_a_frozen_one_does_not(tmp_path: Path) -> None:
    graph = graph_of(write_stream(tmp_path, strategies={"retrieval_bm25": None}))
    (run,) = graph.runs
    assert (run.stages, list(run.rows)) == ([], [0, 1, 2])
    assert not any(parent.kind == "retrieve" for parent in run.rows[0].parents.values())
    assert [stored(run, row) for row in (1, 2)] == [["copy"], ["copy", "which"]]
    assert {row.parents[STATE].key for row in run.rows.values()} == {graph.base.key}
    assert run.rows[2].cost == (1 + 4) * run.rows[0].cost  # four examples before each question
    assert not [node for node in graph.nodes if node.kind in ("train", "embed")]
    (frozen,) = graph_of(tmp_path, "--strategy.bm25.index=frozen").runs
    assert [stored(frozen, row) for row in (1, 2)] == [["copy"], ["copy"]]
    assert frozen.rows[1].key == frozen.rows[2].key != run.rows[1].key


def test_another_order_has_another_memory(tmp_path: Path) -> None:
    folder = write_stream(tmp_path, strategies={"retrieval_bm25": None})
    (run,) = graph_of(folder, "--orders=[[which, copy]]").runs
    assert [stored(run, row) for row in (1, 2)] == [["which"], ["which", "copy"]]


def test_a_memory_can_stand_beside_a_trained_model(tmp_path: Path) -> None:
    folder = write_stream(tmp_path, strategies={"lora_sequential": None, "both": None}, probes={"linear": {"items": 6}})
    write_strategy(folder, "both", ["rewarm_cosine", "lora", "bm25"])
    runs = by_label(graph_of(folder))
    trained, both = runs["lora_sequential"], runs["both"]
    assert [stage.node.key for stage in trained.stages] == [stage.node.key for stage in both.stages]
    assert trained.rows[0].key == both.rows[0].key
    assert all(trained.rows[t].key != both.rows[t].key for t in (1, 2))
    assert both.rows[2].parents[STATE] is both.stages[1].node
    # a probe measures the state, so what stands beside it does not matter
    assert {t: node.key for t, node in both.probes["linear"].items()} == {
        t: node.key for t, node in trained.probes["linear"].items()
    }


def test_a_joint_model_has_everything_beside_it(tmp_path: Path) -> None:
    folder = write_stream(tmp_path, strategies={"both": None})
    write_strategy(folder, "both", ["joint", "rewarm_cosine", "bm25"])
    (run,) = graph_of(folder).runs
    assert (list(run.rows), stored(run, 2)) == ([0, 2], ["copy", "which"])


def test_vectors_are_made_once_per_task_and_set(tmp_path: Path) -> None:
    folder = write_stream(tmp_path, strategies={"retrieval_dense": None})
    graph = graph_of(folder)
    embedded = {(spec.set, spec.split) for n in graph.nodes if isinstance(spec := n.spec, EmbedSpec)}
    assert embedded == {(name, split) for name in SETS for split in ("train", "test")}
    node = shown(graph.runs[0].rows[2], "copy")
    assert spec_of(node.parents[QUERIES], EmbedSpec).split == "test"
    more = graph_of(folder, "--strategy.dense.k=2")
    own = {n.key for n in graph.nodes if n.kind == "embed"}
    assert own == {n.key for n in more.nodes if n.kind == "embed"}  # k shows others of the same vectors
    fewer = graph_of(folder, "--strategy.dense.budget=5")
    assert len(own & {n.key for n in fewer.nodes if n.kind == "embed"}) == 2  # the questions


def test_an_encoder_of_its_own_is_in_the_key_by_its_content(tmp_path: Path) -> None:
    folder = write_stream(tmp_path, strategies={"retrieval_dense": None})
    keys = []
    for name, content in (("one", "{}"), ("two", "{}"), ("three", '{"other": 1}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(content)
        graph = graph_of(folder, f"--strategy.dense.model={tmp_path / name}")
        embeds = [node for node in graph.nodes if node.kind == "embed"]
        assert all(node.local and node.local.model.name == str(tmp_path / name) for node in embeds)
        assert all(STATE not in node.parents for node in embeds)
        keys.append(graph.runs[0].rows[2].key)
    assert keys[0] == keys[1] != keys[2]  # a copy of a folder is the same encoder


def test_only_what_draws_depends_on_the_seed(tmp_path: Path) -> None:
    folder = write_stream(tmp_path, strategies={"retrieval_bm25": None, "retrieval_random": None}, seeds=[0, 1])
    one, drawn, other, again = graph_of(folder).runs
    assert (one.seed, other.seed) == (0, 1)
    assert shown(one.rows[2], "copy").key == shown(other.rows[2], "copy").key
    assert shown(drawn.rows[2], "copy").key != shown(again.rows[2], "copy").key


def test_a_row_of_tuning_asks_the_validation_split(tmp_path: Path) -> None:
    folder = write_stream(tmp_path, strategies={"retrieval_dense": None})
    (run,) = graph_of(folder, "--evaluation.split=validation").runs
    node = shown(run.rows[1], "copy")
    assert spec_of(node, RetrieveSpec).split == spec_of(node.parents[QUERIES], EmbedSpec).split == "validation"


def test_text_is_neither_stored_nor_changed(tmp_path: Path) -> None:
    folder = write_stream(tmp_path, strategies={"retrieval_bm25": None}, tokens={"prose": 640}, examples=48)
    (folder / "prose.txt").write_text("\n\n".join(f"line {n} of a text" for n in range(400)))
    scenario = (folder / "toy.yaml").read_text()
    text = {"kind": "text", "sources": [{"source": "files", "path": "prose.txt", "separator": "\n\n"}]}
    (folder / "toy.yaml").write_text(scenario.replace("tasks:\n", f"tasks:\n  prose: {json.dumps(text)}\n"))
    (run,) = graph_of(folder).runs
    assert run.order == ["prose", "copy", "which"]
    assert run.rows[1].key == run.rows[0].key  # nothing is stored yet
    assert all(run.rows[t].parents[data("prose")].kind == "data" for t in run.rows)
    assert memory(shown(run.rows[3], "copy")) == ["copy", "which"]


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (
            ["untrained", "bm25", "in_context"],
            "own: bm25 and in_context both keep a memory beside the weights; keep one",
        ),
        (["untrained", "rewarm_cosine", "bm25"], "strategies.own: untrained: RewarmCosine acts in training"),
    ],
)
def test_methods_that_cannot_stand_together_are_told(tmp_path: Path, methods: list[str], message: str) -> None:
    folder = write_stream(tmp_path, strategies={"own": None})
    write_strategy(folder, "own", methods)
    with pytest.raises(UserError, match=message):
        graph_of(folder)


def test_a_scenario_without_questions_has_nothing_to_retrieve(tmp_path: Path) -> None:
    folder = write_toy(tmp_path, strategies={"retrieval_bm25": None})
    with pytest.raises(UserError, match=r"bm25 has no effect: no task is of kind instruction or reading; leave it out"):
        graph_of(folder)


def test_settings_of_a_memory_hold_for_all_tasks(tmp_path: Path) -> None:
    folder = write_stream(tmp_path, strategies={"retrieval_bm25": None})
    with pytest.raises(UserError, match=r"by_task.which: bm25 makes the stream, the data or the evaluated model"):
        graph_of(folder, "--by_task={which: {strategy.bm25.k: 2}}")
