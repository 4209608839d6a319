"""Insertion: the perturbed stream is a minimal pair of the plain one, and what cannot be inserted is told."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cl.data.batches import Batch
from cl.data.insertion import Design, Ints, read_items
from cl.data.sampling import blend
from cl.errors import UserError
from cl.graph.roles import data
from cl.training.learner import Learner
from strategies.data.insertion import Insertion
from tests.support.inserted import COPIES, INSERTION, write_inserted
from tests.support.nodes import trained
from tests.support.training import BATCH, STEPS, execute, learn, plan, write_strategy

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable"),
]
DESIGN = Design("canaries", (1, 3), phases=2, stages=(1,), items=2, tokens=12)


@dataclass
class Trained:
    """A stream: folders and results of its train nodes, and the rows that they trained on."""

    folders: list[Path]
    results: list[dict[str, Any]]
    rows: list[list[tuple[int, ...]]]

    @property
    def manifest(self) -> list[dict[str, int]]:
        found: list[dict[str, int]] = json.loads((self.folders[0] / "replaced.json").read_text())
        return found


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Trained, Ints]:
    """The plain and the perturbed stream, and the items."""
    folder = write_inserted(tmp_path_factory.mktemp("pair"), strategies={"plain": None, "perturbed": None})
    graph, store = plan(folder)
    rows: list[tuple[int, ...]] = []
    inner = Learner.training_step

    def training_step(self: Learner, batch: Batch, index: int) -> None:
        rows.extend(tuple(row) for row in batch.ids.tolist())
        inner(self, batch, index)

    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "training_step", training_step)
        for run in graph.runs:
            nodes, seen = [stage.node for stage in run.stages], []
            for node in nodes:
                rows.clear()
                execute(folder, node, store)
                seen.append([*rows])
            found.append(Trained([store.path(node) for node in nodes], [store.result(node) for node in nodes], seen))
    return found[0], found[1], read_items(store.path(graph.data["canaries"]), 0, DESIGN, seed=0)


def test_rows_without_a_copy_are_the_same_and_tokens_are_equal(pair: tuple[Trained, Trained, Ints]) -> None:
    (plain, plain_later), (perturbed, perturbed_later) = (stream.rows for stream in pair[:2])
    chosen = {copy["step"] * BATCH + copy["slot"] for copy in pair[1].manifest}
    assert len(chosen) == COPIES
    assert {at for at, rows in enumerate(zip(plain, perturbed, strict=True)) if rows[0] != rows[1]} == chosen
    assert perturbed_later == plain_later
    assert len({len(row) for row in perturbed}) == 1
    for name in ("tokens", "ledger", "seen"):
        one, other = (stream.results[0][name] for stream in pair[:2])
        assert one == other


def test_each_copy_is_whole_and_once_in_its_row_inside_its_phase(pair: tuple[Trained, Trained, Ints]) -> None:
    perturbed, items = pair[1].rows[0], pair[2].tolist()
    copies, assigned = pair[1].manifest, DESIGN.assigned(0)
    for copy in copies:
        row = list(perturbed[copy["step"] * BATCH + copy["slot"]])
        item = items[copy["item"]]
        (start,) = [at for at in range(len(row)) if row[at : at + len(item)] == item]
        assert start + len(item) == len(row) or row[start + len(item)] == 0
        assert copy["step"] in DESIGN.span(copy["phase"], STEPS)
        assert copy["length"] == len(item)
    counts = Counter((copy["item"], copy["level"], copy["phase"]) for copy in copies)
    cells = ((cell, item) for cell, found in assigned.items() for item in found)
    assert counts == {(item, level, phase): level for (level, phase), item in cells if level}
    everything = [token for row in perturbed for token in row]
    for item in [items[item] for phase in (1, 2) for item in assigned[0, phase]]:  # controls are nowhere
        assert not [at for at in range(len(everything)) if everything[at : at + len(item)] == item]


def test_a_copy_inside_a_document_is_whole_behind_what_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_inserted(tmp_path, {"insertion": {**INSERTION, "inside": True}})
    graph, store = plan(folder)
    node, rows = graph.runs[0].stages[0].node, list[list[int]]()
    inner = Learner.training_step

    def training_step(self: Learner, batch: Batch, index: int) -> None:
        rows.extend(batch.ids.tolist())
        inner(self, batch, index)

    monkeypatch.setattr(Learner, "training_step", training_step)
    execute(folder, node, store)
    items = read_items(store.path(graph.data["canaries"]), 0, DESIGN, seed=0).tolist()
    notes = json.loads((store.path(node) / "replaced.json").read_text())
    assert len(notes) == COPIES
    for note in notes:
        row, place = rows[note["step"] * BATCH + note["slot"]], note["boundary"]
        assert row[place : place + note["length"]] == items[note["item"]][1:]
        before = row[place - len(note["before"]) : place]
        assert before == note["before"] != []
        assert 0 not in before


def test_documents_of_their_own_are_the_nodes_without_the_setting(tmp_path: Path) -> None:
    folder = write_inserted(tmp_path)
    keys = [
        plan(folder, *given)[0].runs[0].stages[0].node.key
        for given in ((), ("--strategy.insertion.inside=false",), ("--strategy.insertion.inside=true",))
    ]
    assert keys[0] == keys[1] != keys[2]
    assert "inside" not in trained(plan(folder)[0].runs[0].stages[0].node).methods[-1].settings


def test_the_items_are_parents_of_the_stages_that_read_them(tmp_path: Path) -> None:
    graph, _ = plan(write_inserted(tmp_path))
    first, second = (stage.node for stage in graph.runs[0].stages)
    assert data("canaries") in first.parents
    assert data("canaries") not in second.parents
    assert [named.name for named in trained(second).methods] == ["rewarm_cosine"]
    assert "canaries" not in graph.runs[0].stages[0].after.accounts


def test_no_levels_are_the_plain_nodes_and_the_cap_is_in_no_key(tmp_path: Path) -> None:
    folder = write_inserted(tmp_path, strategies={"plain": None, "perturbed": None})
    graph, _ = plan(folder, "--strategies={plain: , perturbed: {insertion: {levels: []}}}")
    one, other = graph.runs
    assert [s.node.key for s in one.stages] == [s.node.key for s in other.stages]
    assert any("equivalent to training without it" in text for text in graph.warnings)
    keys = [
        [s.node.key for s in plan(folder, f"--strategies.perturbed.insertion.share={share}")[0].runs[1].stages]
        for share in (0.5, 0.6)
    ]
    assert keys[0] == keys[1] != [s.node.key for s in one.stages]


def test_a_killed_stage_goes_on_with_its_copies(
    pair: tuple[Trained, Trained, Ints], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_inserted(tmp_path, checkpoints={"steps": 4})
    inner = Learner.training_step

    def dying(self: Learner, batch: Any, index: int) -> None:
        if self.step == 14:
            raise KeyboardInterrupt
        inner(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "training_step", dying)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            learn(folder)
    for state, whole in zip(learn(folder), pair[1].folders, strict=True):
        assert (state / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_replayed_row_takes_up_nothing(tmp_path: Path) -> None:
    settings = {"insertion": {**INSERTION, "stages": [2]}}
    folder = write_inserted(tmp_path, {"replay": {"share": 0.5, "max_epochs": 9}}, settings)
    graph, store = plan(folder)
    learn(folder)
    chosen = json.loads((store.path(graph.runs[0].stages[1].node) / "replaced.json").read_text())
    shares = list(trained(graph.runs[0].stages[1].node).shares)
    stream = blend([0.5, 0.5], STEPS * BATCH)
    assert shares[0] == "german"
    assert {int(stream[copy["step"] * BATCH + copy["slot"]]) for copy in chosen} == {0}


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ([{"insertion": {**INSERTION, "of": "canary"}}], "insertion: general set of toy: 'canary' is unknown"),
        ([{"insertion": {**INSERTION, "of": "german"}}], "general set of toy: 'german' is unknown"),
        ([{"insertion": {**INSERTION, "tokens": 31}}], "tokens: 31 do not fit into a row of 32"),
        ([{"insertion": {**INSERTION, "share": 0.05}}], r"share: 0.05 is exceeded by 16 copies, 0.068 of the stage's"),
        ([{"insertion": {**INSERTION, "stages": [3]}}], "edits stage 3, which this strategy does not train"),
        (["scratch", {"insertion": INSERTION}], "edits stage 1, from which stage 2 does not go on"),
        ([{"insertion": INSERTION}, "scratch"], "edits stage 1, from which stage 2 does not go on"),
        ([{"insertion": INSERTION}, {"insertion": INSERTION}], "Insertion and Insertion each edit rows"),
        (
            [{"insertion": {**INSERTION, "stages": [2]}}, {"self_distillation": {"mode": "cache_hidden"}}],
            "stored predictions of a teacher are of the rows before",
        ),
    ],
)
def test_what_cannot_be_inserted_is_told_while_planning(methods: list[Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        plan(write_inserted(tmp_path, *methods))


def test_a_stage_in_parts_is_refused(tmp_path: Path) -> None:
    folder = write_inserted(tmp_path)
    write_strategy(folder, "perturbed", ["inf_cosine", {"insertion": INSERTION}])
    with pytest.raises(UserError, match="edits stage 1, which this strategy trains in parts"):
        plan(folder)


def test_settings_that_make_no_sense_are_told() -> None:
    with pytest.raises(UserError, match="share: 0 is not a share"):
        Insertion(share=0)
    with pytest.raises(UserError, match="levels"):
        Insertion(levels=[1, 1])
