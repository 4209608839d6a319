"""A strategy that diverges or breaks ends alone: all else is computed and reported, and the exit code says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl import cli
from tests.support.training import results, start, write_strategy, write_toy


def wild(folder: Path, *others: str) -> Path:
    """The toy with a strategy whose gradient is not finite in step 5 of each stage."""
    write_strategy(folder, "wild", [{"tests.support.diverging:Wild": {}}])
    return write_toy(folder, strategies=dict.fromkeys([*others, "wild"]))


@pytest.mark.slow
def test_the_other_strategies_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(wild(tmp_path, "finetune"))
    assert cli.main(["run", "toyexp.yaml", "--tracking.uri=none"]) == 3
    out, err = capsys.readouterr()
    told = "train english: diverged at step 5, last finite loss "
    assert told in err
    assert len(err.splitlines()) == 1
    assert [run["strategy"] for run in results(tmp_path)["runs"]] == ["finetune"]
    (note,) = results(tmp_path)["notes"]
    assert note.startswith(
        "wild (seed 0, english > german) is missing in all tables and figures: train english diverged"
    )
    assert "is missing in all tables" in (tmp_path / "results" / "toyexp" / "report.html").read_text()
    assert "is missing in all" in out
    assert cli.main(["run", "toyexp.yaml", "--tracking.uri=none"]) == 3  # and again, with nothing else to do
    assert cli.main(["run", "toyexp.yaml", "--tracking.uri=none", "--strategies={finetune: }"]) == 0


def test_nothing_is_reported_where_all_diverge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(wild(tmp_path))
    assert cli.main(["run", "toyexp.yaml", "--tracking.uri=none"]) == 3
    assert not (tmp_path / "results" / "toyexp" / "results.json").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize("setting", ["--train.devices=2", "--launcher=ray"])
def test_so_it_is_in_other_processes(tmp_path: Path, setting: str) -> None:
    ended = start(wild(tmp_path, "finetune"), "--tracking.uri=none", setting)
    assert ended.returncode == 3, ended.stderr[-2000:]
    assert "diverged at step" in ended.stderr
    assert [run["strategy"] for run in results(tmp_path)["runs"]] == ["finetune"]


@pytest.mark.slow
def test_a_method_with_a_defect_ends_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_strategy(tmp_path, "defect", [{"tests.support.diverging:Defect": {}}])
    monkeypatch.chdir(write_toy(tmp_path, strategies={"defect": None, "finetune": None}))
    assert cli.main(["run", "toyexp.yaml", "--tracking.uri=none"]) == 3
    told = "train english: broke: ZeroDivisionError: division by zero; traceback in store/failed/"
    assert told in capsys.readouterr().err
    assert [run["strategy"] for run in results(tmp_path)["runs"]] == ["finetune"]
    (note,) = results(tmp_path)["notes"]
    assert note.startswith(
        "defect (seed 0, english > german) is missing in all tables and figures: train english broke"
    )
    with pytest.raises(ZeroDivisionError):
        cli.main(["run", "toyexp.yaml", "--tracking.uri=none", "--fail-fast"])
    with pytest.raises(ZeroDivisionError):  # nothing is complete: a defect keeps its traceback
        cli.main(["run", "toyexp.yaml", "--tracking.uri=none", "--strategies={defect: }"])
