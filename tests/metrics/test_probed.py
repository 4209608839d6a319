"""Figures of probes over the rows of R: which data sets belong to a part, and what is a mean of what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cl.config.compare import Compare
from cl.metrics import comparison
from cl.metrics.probed import PARTS, Probed, over_rows, parts, probed
from cl.metrics.records import ExperimentResult, Measure
from cl.reporting.html.comparison import by_title, probes_table, rows_of
from tests.support.results import experiment, one_run

RATES = {"english": 10.0, "german": 20.0, "docstrings": 1.0}
FAR = Measure("kl", "neither", "nats", "Far.", apart=True)


def moved(measure: Measure = FAR) -> ExperimentResult:
    """Two seeds: in row t English has moved by 10 t, German by 20 t, docstrings by t; the second seed by 1 more."""
    made = experiment((0, 1))
    runs = [
        replace(
            run,
            probes={
                "far": {t: {name: {"kl": t * rate + run.seed} for name, rate in RATES.items()} for t in run.matrix}
            },
        )
        for run in made.runs
    ]
    return replace(made, runs=runs, probes={"far": [measure]})


def test_the_new_task_is_what_was_learned_since_the_row_before() -> None:
    new, outside = PARTS.values()
    run = one_run({t: {"english": 1.0} for t in (0, 1, 2)})
    assert [[new(run, t, name) for name in ("english", "german")] for t in (0, 1, 2)] == [
        [False, False], [True, False], [False, True]]  # fmt: skip
    joint = one_run({t: {"english": 1.0} for t in (0, 2)})
    assert [new(joint, 2, name) for name in ("english", "german", "docstrings")] == [True, True, False]
    known = replace(one_run({t: {"english": 1.0} for t in (1, 2)}), known=1)
    assert [[new(known, t, name) for name in ("english", "german")] for t in (1, 2)] == [[False, False], [False, True]]
    assert [outside(run, 1, name) for name in ("english", "docstrings")] == [False, True]


def test_means_are_over_sets_and_runs() -> None:
    runs = [run for run in moved().runs if run.strategy == "rewarm"]
    assert over_rows(runs, "far", "kl") == pytest.approx({0: 0.5, 1: 31 / 3 + 0.5, 2: 62 / 3 + 0.5})
    assert over_rows(runs, "far", "kl", "the new task") == {1: 10.5, 2: 40.5}
    assert over_rows(runs, "far", "kl", "sets outside of the stream") == {0: 0.5, 1: 1.5, 2: 2.5}
    assert over_rows(runs, "far", "kl", skip=1) == pytest.approx({1: 21 / 2 + 0.5, 2: 42 / 2 + 0.5})
    assert over_rows(runs, "far", "other") == over_rows(runs, "near", "kl") == {}


def test_a_measure_is_told_apart_where_it_says_so() -> None:
    assert parts(FAR) == tuple(PARTS)
    assert parts(replace(FAR, apart=False)) == (None,)
    whole = moved(replace(FAR, apart=False))
    assert [(each.strategy, each.part) for each in probed(whole.runs, whole.probes)] == [
        (strategy, None) for strategy in ("finetune", "rewarm", "rewarm_replay_25", "joint")
    ]


def test_a_comparison_has_a_table_per_measure_and_part() -> None:
    found = comparison.compare(moved(), Compare(metrics=["op_final_nll"])).probes
    tables = by_title(found)
    assert list(tables) == ["far: kl on the new task", "far: kl on sets outside of the stream"]
    joint = tables["far: kl on the new task"][-1]
    assert joint == Probed("joint", "far", "kl", "nats", "the new task", {2: 30.5})
    assert rows_of(tables["far: kl on the new task"]) == [1, 2]
    table = probes_table(tables["far: kl on the new task"])
    assert [column.header for column in table.columns] == ["strategy", "after 1", "after 2"]
    assert list(table.columns[1].cells) == ["10.5", "10.5", "10.5", "–"]
    assert comparison.compare(experiment(), Compare(metrics=["op_final_nll"])).probes == []
