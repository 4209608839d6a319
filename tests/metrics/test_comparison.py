"""Strategies compared: what is paired, what is tested, what is called a difference, and what cannot be said."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from cl.config.compare import Compare
from cl.errors import UserError
from cl.metrics import comparison, continual
from cl.metrics.records import ExperimentResult
from cl.reporting.html import comparison as report
from tests.support import results
from tests.support.results import contenders as result


def test_every_strategy_is_held_against_the_first_on_the_final_mean() -> None:
    found = comparison.compare(result(), Compare())
    assert [(one.a, one.b, one.metric) for one in found.contrasts] == [
        ("rewarm", "finetune", "op_final_nll"),
        ("rewarm_replay_25", "finetune", "op_final_nll"),
    ]
    by_hand = ((7.46 + 4.81) - (7.12 + 4.99)) / 2
    first, second = found.contrasts
    assert first.mean == pytest.approx(by_hand)
    assert first.differences == pytest.approx(dict.fromkeys(found.units, by_hand))
    assert (first.p, first.adjusted) == pytest.approx((2 / 256, 2 * 2 / 256))
    assert (first.verdict, second.verdict) == ("worse", "better")
    assert [row.strategy for row in found.standings["op_final_nll"]] == ["rewarm_replay_25", "finetune", "rewarm"]
    assert [row.rank for row in found.standings["op_final_nll"]] == [1, 2, 3]


def test_the_family_is_all_pairs_times_all_metrics() -> None:
    metrics = ["op_final_nll", "forgetting/first_nll"]
    found = comparison.compare(result(), Compare(metrics=metrics, pairs="all"))
    assert len(found.contrasts) == 6
    assert [one.adjusted for one in found.contrasts] == pytest.approx([6 * 2 / 256] * 6)
    chosen = comparison.compare(result(), Compare(pairs=[("rewarm_replay_25", "rewarm")], baseline="rewarm"))
    assert [(one.a, one.b, one.adjusted) for one in chosen.contrasts] == [("rewarm_replay_25", "rewarm", 2 / 256)]


def test_too_few_units_are_said_to_reach_nothing() -> None:
    found = comparison.compare(result(seeds=5), Compare())
    assert {one.verdict for one in found.contrasts} == {"not decided"}
    assert found.power == (
        "cannot reach p < 0.05 with n = 5: the smallest p is 0.062; a family of 2 tests needs 7 units"
    )
    assert comparison.compare(result(seeds=7), Compare()).power.startswith("n = 7 units (seed x task order)")
    # 6 units are enough for one test, and not for two
    assert comparison.compare(result(seeds=6), Compare()).power.startswith("cannot reach")
    one = comparison.compare(result(seeds=6), Compare(pairs=[("rewarm", "finetune")]))
    assert one.contrasts[0].verdict == "worse"


def test_a_difference_within_the_noise_is_not_decided() -> None:
    found = comparison.compare(result(rewarm=1.0), Compare())
    rewarm = found.contrasts[0]
    assert rewarm.mean == pytest.approx(((7.46 + 4.81) - (7.12 + 4.99)) / 2)
    assert rewarm.verdict == "not decided"
    assert rewarm.interval.low < 0 < rewarm.interval.high
    assert found.groups["op_final_nll"] == [["finetune", "rewarm"]]


def two_orders(seeds: int = 4) -> ExperimentResult:
    """Each run a second time in the other order, where losses are 0.5 higher."""
    made = result(seeds)
    other = []
    for run in made.runs:
        rows = {
            t: {n: dataclasses.replace(c, nll=c.nll + 0.5 * c.tokens) for n, c in row.items()}
            for t, row in run.matrix.items()
        }
        other.append(dataclasses.replace(run, order=run.order[::-1], matrix=rows))
    return dataclasses.replace(made, runs=[*made.runs, *other])


@pytest.mark.parametrize(("unit", "count"), [("run", 8), ("seed", 4), ("order", 2)])
def test_what_is_inside_a_unit_is_averaged_first(unit: Any, count: int) -> None:
    found = comparison.compare(two_orders(), Compare(unit=unit))
    assert len(found.units) == len(found.contrasts[0].differences) == count
    assert found.contrasts[0].mean == pytest.approx(0.08)
    spread = found.standings["op_final_nll"][0].spread
    assert spread.orders == pytest.approx(0.5 / math.sqrt(2))
    assert 0 < spread.seeds < 0.05
    assert ("says nothing of others" in found.power) == (unit == "run")


def test_orders_that_end_alike_stay_units_of_their_own_behind_tasks_that_are_skipped() -> None:
    assert len(comparison.compare(two_orders(), Compare(skip=1)).units) == 8


def test_retain_sets_have_metrics_too() -> None:
    found = comparison.compare(result(), Compare(metrics=["x_delta_nll"]))
    assert found.contrasts[0].mean == pytest.approx(-(8.67 - 8.31))
    assert found.contrasts[0].verdict == "worse"


def test_what_is_undefined_says_why_and_stays_in_the_family() -> None:
    made = results.experiment(range(8), ("finetune", "rewarm", "joint"))
    found = comparison.compare(made, Compare(metrics=["forgetting/first_nll"]))
    rewarm, joint = found.contrasts
    assert joint.verdict == "undefined"
    assert joint.reason == "forgetting/first_nll is undefined in 8 of 8 units: row 1 was not evaluated"
    assert rewarm.adjusted == pytest.approx(2 * 2 / 256)
    assert found.standings["forgetting/first_nll"][-1].strategy == "joint"
    assert "cannot be compared" in report.sentence(joint, 8)


def test_tasks_that_were_tuned_on_do_not_count() -> None:
    found = comparison.compare(result(), Compare(skip=1))
    assert found.contrasts[0].mean == pytest.approx(4.81 - 4.99)  # german alone
    assert found.contrasts[0].verdict == "better"


def test_costs_are_multiples_of_the_baseline() -> None:
    made = result(1)
    runs = [
        dataclasses.replace(run, stages=[dataclasses.replace(s, tokens=2 * s.tokens) for s in run.stages])
        if run.strategy == "rewarm"
        else run
        for run in made.runs
    ]
    found = comparison.compare(dataclasses.replace(made, runs=runs), Compare())
    assert [(cost.tokens_ratio, cost.matched) for cost in found.costs] == [(1, True), (2, False), (1, True)]


@pytest.mark.parametrize(
    ("labels", "wanted", "message"),
    [
        (["one"], {}, "has nothing to be compared with"),
        (["a", "b"], {"baseline": "c"}, "'c' is no strategy of this experiment; it has a, b"),
        (["a", "b"], {"pairs": [("a", "a")]}, "paired with itself"),
        (
            ["a", "b"],
            {"metrics": ["accuracy"]},
            "compare.metrics: 'accuracy' is unknown here; there are adaptation/nll",
        ),
        (["a", "b"], {"metrics": ["op_final"]}, "'op_final' is unknown here"),  # there are no scores
        (["a", "b"], {"metrics": ["op_t_nll/3"]}, "'op_t_nll/3' is unknown here"),
        (["a", "b"], {"metrics": ["x_delta_nll"]}, "x_delta_nll can have no value here: there are no retained sets"),
        (["a", "b"], {"skip": 2}, "compare.skip: 2 leaves none of 2 tasks"),
    ],
)
def test_what_cannot_be_compared_is_refused(labels: list[str], wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        comparison.check(labels, 2, Compare(**wanted), continual.defined(2, 0, 0, scored=False))
