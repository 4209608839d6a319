"""Cold equals warm: what is stored is not computed again, and reports the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cl.commands import run as commands
from cl.execution import runner


@pytest.fixture
def run(toy: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """`cl run toy.yaml` with overrides; gives results.json."""

    def call(*overrides: str) -> dict[str, Any]:
        commands.run("toy.yaml", list(overrides))
        capsys.readouterr()
        found: dict[str, Any] = json.loads(Path("results/toy/results.json").read_text())
        return found

    return call


def comparable(result: dict[str, Any]) -> dict[str, Any]:
    """A result without what may differ between a call that computes and one that finds everything."""
    stages = [stage for run in result["runs"] for stage in run["stages"]]
    return {
        **result,
        "executed": None,
        "seconds": None,
        "stages": [{**stage, "reused": None} for stage in stages],
        "runs": [{**run, "stages": None} for run in result["runs"]],
    }


@pytest.mark.slow
def test_a_second_call_executes_nothing_and_reports_the_same(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cold = run()
    assert (cold["asked"], cold["executed"]) == (2, 2)
    assert [stage["reused"] for stage in cold["runs"][0]["stages"]] == [False, False]
    monkeypatch.setattr(runner, "compute", None)
    warm = run()
    assert (warm["asked"], warm["executed"]) == (2, 0)
    assert [stage["reused"] for stage in warm["runs"][0]["stages"]] == [True, True]
    assert comparable(warm) == comparable(cold)
    assert warm["seconds"] < cold["seconds"]


@pytest.mark.slow
def test_a_reused_node_is_reported_as_such_and_changes_no_score(run: Any, toy: Path) -> None:
    both = "--strategies={finetune: , rewarm_replay: {replay: {share: 0.25}}}"
    run()
    warm = run(both)
    assert (warm["asked"], warm["executed"]) == (4, 1)
    assert [stage["reused"] for r in warm["runs"] for stage in r["stages"]] == [True, True, True, False]
    cold = run(both, "--store=fresh")
    assert (cold["asked"], cold["executed"]) == (4, 3)
    assert without_times(cold) == without_times(warm)


def without_times(result: dict[str, Any]) -> list[Any]:
    """Everything that was measured in a result, except times."""
    return [
        (r["matrix"], r["matrix_keys"], r["key"], [(s["key"], s["seen"], s["tokens"], losses(s)) for s in r["stages"]])
        for r in result["runs"]
    ]


def losses(stage: dict[str, Any]) -> list[Any]:
    return [(p["step"], p["loss"], p["lr"], p["grad_norm"], p["seen"]) for p in stage["points"]]
