"""The table of strategies: its numbers by hand, on the page and in the terminal."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from cl.metrics.records import ExperimentResult
from cl.reporting.html.table import Value, strategies, terminal_table
from tests.support.results import experiment, probed


def cell(result: ExperimentResult, label: str, title: str) -> Value:
    table = strategies(result)
    row = next(row for row in table.rows if row.group.label == label)
    return row.values[[column.title for column in table.columns].index(title)]


def test_undefined_is_nan_with_a_reason_and_a_dash() -> None:
    value = cell(experiment(), "joint", "forgetting")
    assert math.isnan(value.number)
    assert value.text == "–"
    assert "row 1" in value.note


@pytest.mark.parametrize(
    ("label", "title", "text", "best"),
    [
        ("finetune", "english", "7.12", False),
        ("rewarm_replay_25", "english", "4.48", True),
        ("rewarm", "german", "4.81", True),
        ("joint", "english", "4.35", False),  # lower than all, but a reference does not compete
        ("rewarm", "forgetting", "3.07", False),
        ("rewarm_replay_25", "forgetting", "0.09", True),
        ("rewarm", "mean of tasks", "6.13", False),  # (7.46 + 4.81) / 2 = 6.135, a binary hair below
        ("finetune", "tokens", "4 M", False),
    ],
)
def test_table_of_strategies(label: str, title: str, text: str, best: bool) -> None:
    value = cell(experiment(), label, title)
    assert (value.text, value.best) == (text, best)


def test_evaluation_share_is_of_all_time() -> None:
    seconds, evaluation = 2 / 9000, 2 / 110_000
    assert cell(experiment(), "finetune", "eval").number == pytest.approx(evaluation / (seconds + evaluation))


def test_seeds_give_mean_and_half_the_range() -> None:
    value = cell(experiment((0, 2)), "rewarm", "english")  # seeds 7.46 and 7.52
    assert value.number == pytest.approx(7.49)
    assert value.detail[0] == "± 0.03"
    assert not any("±" in text for text in cell(experiment(), "rewarm", "english").detail)


def test_terminal_table_fits_100_columns_and_says_what_the_page_says() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(terminal_table(experiment((0, 1))))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 100
    for word in ("rewarm_replay_25", "docstrings", "4.50*", "± 0.02", "1.58 b/B", "reference"):
        assert word in text


def test_a_measure_of_a_probe_is_a_column_of_its_mean_over_sets_after_the_last_task() -> None:
    value = cell(probed((0, 2)), "rewarm", "linear accuracy")
    assert value.number == pytest.approx(0.75 + 0.05 + 0.01)
    missing = cell(probed(), "rewarm", "linear count")
    assert (missing.text, missing.note) == ("–", "not measured after the last task")
