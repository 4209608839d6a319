"""Decisions of gates as text: on the page, in the terminal, and nowhere if nothing is gated."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from cl.metrics.certificate import Certificate, Change
from cl.metrics.records import ExperimentResult
from cl.reporting.html import gates, page
from tests.support.results import experiment

HARM = Change(-0.25, -0.5, -0.125, 30)
GATE = Certificate(
    2, "german", {}, {"own": {"margin": 0.1, "retain": []}}, Change(1.5, 1.25, 1.75, 30),
    {"docstrings": Change(-0.5, -0.4, 0.0, 30), "english": HARM}, "rollback", "0123456789abcdef", {},
)  # fmt: skip


def gated(*seeds: int) -> ExperimentResult:
    """The fabricated result, whose last strategy is gated in its second stage."""
    found = experiment(seeds, ("finetune", "rewarm"))
    runs = [dataclasses.replace(run, gates={2: GATE}) if run.strategy == "rewarm" else run for run in found.runs]
    return dataclasses.replace(found, runs=runs)


def test_a_decision_as_one_line() -> None:
    (line,) = gates.lines(gated(0))
    assert line == (
        "rewarm", "german", "rolled back", "+1.500 (+1.250 to +1.750)", "english -0.250 (-0.500 to -0.125)",
        "margin: 0.1, retain: –", "0123456789abcdef",
    )  # fmt: skip
    assert [line.run for line in gates.lines(gated(0, 1))] == ["rewarm, seed 0", "rewarm, seed 1"]


def test_without_retained_sets_there_is_no_worst_one() -> None:
    result = gated(0)
    alone = dataclasses.replace(GATE, regression={}, decision="accept")
    runs = [dataclasses.replace(run, gates={1: alone, 2: GATE} if run.gates else {}) for run in result.runs]
    first, second = gates.lines(dataclasses.replace(result, runs=runs))
    assert (first.decision, first.worst) == ("accepted", "–")
    assert second.decision == "rolled back"


def test_only_gated_results_show_gates(tmp_path: Path) -> None:
    page.write(gated(0), {}, tmp_path / "gated.html")
    page.write(experiment(), {}, tmp_path / "plain.html")
    shown, plain = ((tmp_path / name).read_text(encoding="utf-8") for name in ("gated.html", "plain.html"))
    assert "<h2>Promotion gates</h2>" in shown
    assert "english -0.250 (-0.500 to -0.125)" in shown
    assert "Promotion gates" not in plain
    assert gates.terminal_table(experiment()) is None
    table = gates.terminal_table(gated(0))
    assert table is not None
    assert table.row_count == 1


def test_certificates_survive_results_json(tmp_path: Path) -> None:
    result = gated(0)
    result.save(tmp_path / "results.json")
    assert ExperimentResult.load(tmp_path / "results.json") == result
