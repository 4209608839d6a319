"""Membership: the scores by hand, chance before training, and the states that it compares with."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from cl.errors import UserError
from cl.graph.roles import STATE, reference
from cl.metrics.probed import drawn
from cl.metrics.records import Measure
from cl.metrics.roc import null_half
from cl.models.forward import TokenLoss
from cl.probes import inserted, membership
from cl.probes.membership import Membership, areas, lowest_mean
from cl.probes.probe import Data, History, State
from cl.reporting.html.groups import groups
from cl.reporting.html.probes import probe_figure
from tests.support.inserted import INSERTION, write_inserted
from tests.support.results import experiment
from tests.support.training import execute, plan, tiny

SETTINGS = {key: value for key, value in INSERTION.items() if key != "share"}


def test_the_lowest_share_by_hand() -> None:
    log_p = torch.tensor([[-1.0, -5.0, -2.0, -3.0, -9.0], [-1.0, -1.0, -1.0, -1.0, -2.0]])
    assert lowest_mean(log_p, 0.4).tolist() == [-7.0, -1.5]
    assert lowest_mean(log_p, 0.59).tolist() == [-7.0, -1.5]  # rounded down
    assert lowest_mean(log_p, 0.1).tolist() == [-9.0, -2.0]  # at least one


def test_areas_compare_members_with_items_that_were_never_inserted() -> None:
    found = areas({"loss": torch.tensor([-1.0, -2.0, -3.0, -1.5, 0.0])}, [0, 3], [1, 2])
    assert found == {"loss": 1.0, "null": null_half(2, 2)}


def test_a_score_is_against_the_checkpoint_before_the_stage_of_the_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """Likelihood tells nothing, because members are unlikely text; the rise since the right checkpoint tells all."""
    probe = Membership(levels=[2], phases=1, stages=[1, 2], items=3, tokens=5)
    design = probe.design()
    cells = design.assigned(7)
    hardness = torch.arange(float(design.size))[:, None].expand(-1, 5).clone()
    for phase in (1, 2):
        hardness[cells[2, phase]] += 100.0

    def state(risen: set[int], references: Any = None) -> State:
        made = State(loss, Path("unused"), "cpu", 4, history=History(7), references=references or {})
        log_p = -hardness.clone()
        for phase in risen:
            log_p[cells[2, phase]] += 1.0
        values[id(made)] = (made, log_p)
        return made

    loss, values = TokenLoss(tiny(), 0, True), dict[int, tuple[State, torch.Tensor]]()
    monkeypatch.setattr(membership, "read_items", lambda *_: None)
    monkeypatch.setattr(inserted, "log_probabilities", lambda made, _: values[id(made)][1])
    before, between = state(set()), state({1})
    found = _measured(probe, state({1, 2}, {0: lambda: before, 1: lambda: between}))
    assert [found[f"copies 2 stage {t}"]["ratio"] for t in (1, 2)] == [1.0, 1.0]
    assert [found[f"copies 2 stage {t}"]["loss"] for t in (1, 2)] == [0.0, 0.0]
    found = _measured(probe, state(set(), {0: lambda: before}))
    assert found["copies 2 stage 1"]["ratio"] == 0.5  # before the stage nothing has risen
    assert "ratio" not in found["copies 2 stage 2"]  # its checkpoint is still to come


def _measured(probe: Membership, state: State) -> dict[str, dict[str, float]]:
    return probe.measure(state, Data({"canaries": Path("unused")}, 32, "test"))


def test_the_states_before_the_stages_are_parents_of_later_rows(tmp_path: Path) -> None:
    settings = {**SETTINGS, "stages": [1, 2], "items": 1}
    folder = write_inserted(tmp_path, {"insertion": {**settings, "share": 0.5}}, probes={"membership": settings})
    (run,) = plan(folder)[0].runs
    parents = [run.probes["membership"][t].parents for t in (0, 1, 2)]
    assert [[t for t in (0, 1, 2) if reference(t) in found] for found in parents] == [[0], [0, 1], [0, 1]]
    assert parents[2][reference(1)].key == run.rows[1].parents[STATE].key


def test_a_run_measures_areas_and_chance_before_training(tmp_path: Path) -> None:
    settings = {**SETTINGS, "items": 4, "levels": [6], "phases": 1}
    folder = write_inserted(tmp_path, {"insertion": {**settings, "share": 0.5}}, probes={"membership": settings})
    graph, store = plan(folder)
    found = {}
    for t in (0, 1):
        node = graph.runs[0].probes["membership"][t]
        execute(folder, node, store)
        ((name, found[t]),) = store.result(node)["measures"].items()
        assert name == "copies 6 stage 1"
    assert found[0]["ratio"] == 0.5
    assert found[0]["null"] == found[1]["null"] == null_half(4, 4)
    assert found[1]["ratio"] > 0.5
    assert abs(found[0]["loss"] - 0.5) <= found[0]["null"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lowest": 0.0}, "lowest: 0.0 is not a share"),
        ({"items": 1}, r"strategies\.perturbed: items: 1 differs from insertion\.items: 2"),
    ],
)
def test_what_cannot_be_tested_is_told(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        plan(write_inserted(tmp_path, probes={"membership": SETTINGS | change}))


def test_a_row_that_a_strategy_does_not_have_is_told(tmp_path: Path) -> None:
    settings = {**SETTINGS, "stages": [2]}
    folder = write_inserted(tmp_path, strategies={"joint": None}, probes={"membership": settings})
    with pytest.raises(UserError, match=r"probes\.membership: strategies\.joint: has no row 1"):
        plan(folder)


def test_the_interval_of_chance_is_a_band_and_no_picture() -> None:
    made = experiment()
    cells = {"copies 1 stage 1": {"loss": 0.7, "null": 0.1}}
    runs = [dataclasses.replace(run, probes={"membership": dict.fromkeys(run.matrix, cells)}) for run in made.runs]
    measures = [
        Measure("loss", "higher", "AUC", "Area.", chance=0.5, null="null"),
        Measure("null", "lower", "AUC", "Half-width."),
    ]
    result = dataclasses.replace(made, runs=runs, probes={"membership": measures})
    assert drawn(measures) == measures[:1]
    _, band = probe_figure(groups(result), "membership", measures[0]).layout.shapes
    assert (band.y0, band.y1) == (0.4, 0.6)
