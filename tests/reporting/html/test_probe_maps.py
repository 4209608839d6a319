"""Heat maps of probes: what has a place, and what has no picture of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from cl.metrics.records import ExperimentResult, Measure
from cl.reporting.html.figures import figures
from cl.reporting.html.groups import groups
from cl.reporting.html.probe_maps import probe_maps
from cl.reporting.html.table import strategies
from tests.support.results import experiment


def mapped(rows: dict[int, dict[str, dict[str, float]]]) -> ExperimentResult:
    """The fabricated experiment with a probe of cells; the second seed has twice the values."""
    made = experiment((0, 1), ["finetune", "rewarm"])
    runs = [
        dataclasses.replace(
            run,
            probes={"memorisation": {
                t: {name: {key: value * (1 + run.seed * (key != "age")) for key, value in cell.items()}
                    for name, cell in row.items()}
                for t, row in rows.items()
            }},
        )
        for run in made.runs
    ]  # fmt: skip
    measures = [
        Measure("memory", "higher", "nats", "Memory.", axes=(("copies", "phase"), ("copies", "age"))),
        Measure("age", "lower", "tokens", "Age."),
    ]
    return dataclasses.replace(made, runs=runs, probes={"memorisation": measures})


CELLS = {
    0: {"copies 1 phase 1": {"memory": 0.1}, "copies 1 phase 2": {"memory": 0.0}, "copies 16 phase 1": {"memory": 0.0}},
    1: {"copies 1 phase 1": {"memory": 0.5, "age": 1000}, "copies 0": {"other": 1.0}},
    2: {
        "copies 1 phase 1": {"memory": 0.3, "age": 3000},
        "copies 1 phase 2": {"memory": 0.4, "age": 2000},
        "copies 16 phase 1": {"memory": 0.8, "age": 3000},
        "copies 0": {"other": 1.0},
    },
}  # fmt: skip


def test_a_map_of_named_axes_shows_the_rise_until_the_last_row() -> None:
    result = mapped(CELLS)
    made = probe_maps(groups(result), "memorisation", result.probes["memorisation"])
    assert sorted(made) == [
        f"memorisation/memory/{axis}/{name}" for axis in ("age", "phase") for name in ("finetune", "rewarm")
    ]
    (heat,) = made["memorisation/memory/phase/rewarm"].data
    assert (list(heat.y), list(heat.x)) == (["1", "16"], ["1", "2"])
    found = [[None if value is None else round(value, 6) for value in row] for row in heat.z]
    assert found == [[0.3, 0.6], [1.2, None]]  # mean over seeds: 1.5 times 0.2, 0.4, 0.8
    assert (heat.zmin, heat.zmax) == (pytest.approx(-1.2), pytest.approx(1.2))


def test_a_map_over_a_measure_has_the_places_of_all_rows() -> None:
    result = mapped(CELLS)
    made = probe_maps(groups(result), "memorisation", result.probes["memorisation"])
    (heat,) = made["memorisation/memory/age/finetune"].data
    assert list(heat.x) == ["1 k", "2 k", "3 k"]
    assert [[value is None for value in row] for row in heat.z] == [[False, False, False], [True, True, False]]
    assert heat.z[0][0] == pytest.approx(1.5 * 0.4)
    assert made["memorisation/memory/age/finetune"].layout.xaxis.title.text == "age, tokens"


def test_without_a_row_before_training_there_is_no_rise() -> None:
    result = mapped({2: CELLS[2]})
    assert probe_maps(groups(result), "memorisation", result.probes["memorisation"]) == {}


def test_an_axis_has_no_picture_and_no_column_of_its_own() -> None:
    result = mapped(CELLS)
    names = [name for name in figures(result) if name.startswith("probe/")]
    assert [name for name in names if name.count("/") == 2] == ["probe/memorisation/memory"]
    assert [column.title for column in strategies(result).columns if "memorisation" in column.title] == [
        "memorisation memory"
    ]


def test_axes_survive_a_round_trip(tmp_path: Path) -> None:
    result = mapped(CELLS)
    result.save(tmp_path / "results.json")
    assert ExperimentResult.load(tmp_path / "results.json").probes == result.probes
