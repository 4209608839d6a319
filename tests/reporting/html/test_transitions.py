"""Item transitions as pictures and tables: what is drawn from which row on, and what is left out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from rich.console import Console

from cl.config.compare import Compare
from cl.metrics import comparison, transitions
from cl.reporting.html import comparison as comparison_page
from cl.reporting.html import page
from cl.reporting.html.figures import figures
from cl.reporting.html.groups import groups
from cl.reporting.html.transitions import rows, shown, terminal_table, transitions_figure
from tests.support.results import answered, experiment


def test_a_line_of_what_is_gained_and_one_of_what_is_forgotten_since_a_task_was_learned() -> None:
    figure = transitions_figure(groups(answered((0, 1))), "english")
    lines = {(line.name, line.showlegend): line for line in figure.data}
    gained, forgotten = lines["rewarm", True], lines["rewarm", False]
    assert list(gained.x) == list(forgotten.x) == ["after english", "after german"]
    assert (list(gained.y), list(forgotten.y)) == ([0.0, 0.25], [0.0, -0.25])
    assert gained.line.color == forgotten.line.color
    assert list(lines["joint", True].x) == []  # which learned both tasks at once
    assert list(gained.customdata) == [", 0.000 beyond chance", ""]


def test_a_set_outside_of_the_stream_is_followed_from_the_first_row() -> None:
    made = answered()
    runs = [
        dataclasses.replace(run, answers={t: {"docstrings": {"strict": "0" * t + "1" * (2 - t)}} for t in run.matrix})
        for run in made.runs
    ]
    figure = transitions_figure(groups(dataclasses.replace(made, runs=runs)), "docstrings")
    forgotten = next(line for line in figure.data if (line.name, line.showlegend) == ("finetune", False))
    assert list(forgotten.x) == ["before training", "after english", "after german"]
    assert list(forgotten.y) == [0.0, -0.5, -1.0]


def test_the_last_task_has_no_picture_and_a_row_of_the_table() -> None:
    made = answered()
    found = figures(made)
    assert "transitions/english" in found
    assert "transitions/german" not in found  # nothing was learned after it
    table = rows(groups(made))
    three = ["finetune", "rewarm", "rewarm_replay_25"]  # the joint run has one row only
    assert [(change.name, group.label) for group, change in table] == [
        (name, label) for name in ("english", "german") for label in three
    ]
    assert not rows(groups(experiment()))


def test_a_share_shows_what_is_beyond_chance_in_brackets() -> None:
    assert shown(0.254, float("nan")) == "0.25"
    assert shown(0.254, 0.0) == "0.25 (0.00)"


def printed(table: object) -> list[list[str]]:
    console = Console(width=90)
    with console.capture() as capture:
        console.print(table)
    return [line.split() for line in capture.get().splitlines()]


def test_the_terminal_has_a_line_per_strategy_and_set() -> None:
    """German: from 0100 to 1110 half of the answers are gained, (1 - 1/4) (1 - 3/4) / (2 - 1) of them by luck."""
    lines = printed(terminal_table(transitions.changes(answered().runs[:1])))
    assert lines[2] == ["finetune", "english", "0.25", "0.25", "0.00", "0.75"]
    assert lines[3] == ["finetune", "german", "–", "–", "0.00", "(0.00)", "0.50", "(0.31)"]


def test_report_and_comparison_show_the_table(tmp_path: Path) -> None:
    made = answered((0, 1))
    page.write(made, figures(made), tmp_path / "report.html")
    assert "<td>0.50 (0.31)</td>" in (tmp_path / "report.html").read_text(encoding="utf-8")
    found = comparison.compare(made, Compare(metrics=["op_final_nll"]))
    assert [(each.strategy, each.name) for each in found.transitions][:2] == [
        ("finetune", "english"), ("finetune", "german")]  # fmt: skip
    comparison_page.write("?", found, "", [], tmp_path / "comparison.html")
    assert "<td>0.50 (0.31)</td>" in (tmp_path / "comparison.html").read_text(encoding="utf-8")
    page.write(experiment(), {}, tmp_path / "text.html")
    assert "Answers forgotten" not in (tmp_path / "text.html").read_text(encoding="utf-8")


def test_skipped_tasks_are_left_out_of_a_comparison() -> None:
    found = comparison.compare(answered(), Compare(metrics=["op_final_nll"], skip=1)).transitions
    assert {each.name for each in found} == {"german"}
    assert found[0].first is not None
    assert found[0].first.gained == pytest.approx(0.25)  # since row 1
