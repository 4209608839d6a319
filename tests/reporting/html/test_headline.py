"""The outcome in one sentence."""

from __future__ import annotations

import dataclasses

import pytest

from cl.metrics.records import Cell, ExperimentResult, RunResult
from cl.reporting.html.figures import figures
from cl.reporting.html.headline import headline
from cl.reporting.html.table import Value, strategies
from tests.support.results import experiment, one_run, with_runs


def cell(result: ExperimentResult, label: str, title: str) -> Value:
    table = strategies(result)
    row = next(row for row in table.rows if row.group.label == label)
    return row.values[[column.title for column in table.columns].index(title)]


def test_headline_names_worst_best_and_cost() -> None:
    assert headline(experiment()) == (
        "With rewarm, English loss rose by 3.07 nats/token; with rewarm_replay_25 by 0.09, at a cost of 0.13 on German."
    )


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ({"english": 4.5, "german": 5.0}, "With hand, English loss rose by 0.50 nats/token."),
        ({"english": 3.5, "german": 5.0}, "With hand, English loss fell by 0.50 nats/token."),
        ({"english": 4.001, "german": 5.0}, "With hand, English loss did not change."),
    ],
)
def test_headline_of_one_strategy(second: dict[str, float], expected: str) -> None:
    assert headline(with_runs(one_run({1: {"english": 4.0}, 2: second}))) == expected


def test_headline_where_the_better_one_gained() -> None:
    rows = {1: {"english": 4.0}, 2: {"english": 3.8, "german": 5.0}}
    better = dataclasses.replace(one_run(rows), strategy="better")
    worse = one_run({1: {"english": 4.0}, 2: {"english": 5.0, "german": 5.2}})
    assert headline(with_runs(better, worse)) == (
        "With hand, English loss rose by 1.00 nats/token; with better it fell by 0.20, and German ended 0.20 lower."
    )


def test_headline_without_forgetting() -> None:
    assert headline(experiment(strategies=["joint"])).startswith("Only the joint reference")
    single = one_run({0: {"english": 10.0}, 1: {"english": 4.0}}, order=["english"])
    assert headline(with_runs(single)) == "With hand, English loss went from 10.00 to 4.00 nats/token."
    assert "undefined" in headline(with_runs(one_run({2: {"english": 1.0, "german": 1.0}})))


def scored(strict: float, forgiven: float, label: str = "lora") -> RunResult:
    """Two tasks: the first is answered perfectly after it was learned, and as given at the end."""

    def cell(form: float, content: float) -> Cell:
        return Cell(10.0, 10, 20.0, {"strict": form, "normalised": content, "format_ok": 1.0}, 8)

    rows = {
        0: {"english": cell(0, 0), "german": cell(0, 0)},
        1: {"english": cell(1, 1), "german": cell(0, 0)},
        2: {"english": cell(strict, forgiven), "german": cell(0.5, 0.75)},
    }
    return dataclasses.replace(one_run({}), strategy=label, matrix=rows)


def test_scores_rule_where_there_are_any() -> None:
    result = dataclasses.replace(experiment(), runs=[scored(0.25, 0.75), scored(1.0, 1.0, "sefe")], retain=[])
    assert headline(result) == (
        "With lora, the strict score on earlier tasks fell by 0.75, 0.50 of it form alone; with sefe by 0.00."
    )
    table = strategies(result)
    by_title = {column.title: i for i, column in enumerate(table.columns)}
    lora = table.rows[0].values
    assert (lora[by_title["english"]].text, lora[by_title["english"]].detail) == ("0.25", ("(0.75)",))
    titles = ("MFT", "MFN", "MAA", "BWT", "superficial", "essential")
    assert [lora[by_title[title]].text for title in titles] == ["0.75", "0.38", "0.69", "-0.75", "0.50", "0.25"]
    assert "forgetting" not in by_title
    bars = figures(result)["form_and_content"].data
    assert [(bar.name, list(bar.x)) for bar in bars] == [
        ("content (essential)", [0.25, 0.0]),
        ("form alone (superficial)", [0.5, 0.0]),
    ]


def test_no_fall_is_said_as_such() -> None:
    result = dataclasses.replace(experiment(), runs=[scored(1.0, 1.0)], retain=[])
    assert headline(result) == "No strict score on earlier tasks fell, not even with lora."
