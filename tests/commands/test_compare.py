"""`cl compare` as a user runs it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import yaml

from cl import cli
from tests.support.instruction import write_stream
from tests.support.training import write_toy


@pytest.mark.slow
def test_compare_as_a_user_runs_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_toy(tmp_path, strategies={"finetune": None, "rewarm": None}, seeds=[0, 1], orders="latin_square", tokens=512)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with contextlib.chdir(tmp_path):
        assert cli.main(["compare", "toyexp.yaml", f"--tracking.uri={uri}"]) == 0
        printed = capsys.readouterr().out
        assert "cannot reach p < 0.05 with n = 4" in printed
        folder = Path("results/toyexp")
        found = json.loads((folder / "comparison.json").read_text())
        assert len(found["units"]) == 4
        assert yaml.safe_load((folder / "comparison.yaml").read_text())["orders"] == [
            "english > german", "german > english"]  # fmt: skip
        assert (folder / "comparison.html").stat().st_size > 1e6
        assert cli.main(["compare", "toyexp.yaml", "--tracking.uri=none"]) == 0  # all is stored
        assert "0 executed" in capsys.readouterr().out
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    (logged,) = client.search_experiments(filter_string="name = 'toyexp'")
    names = {run.info.run_name: run for run in client.search_runs([logged.experiment_id])}
    p = names["comparison"].data.metrics["compare/op_final_nll/rewarm-finetune/p"]
    assert p == pytest.approx(found["contrasts"][0]["p"])


def test_bad_input_is_told_before_anything_is_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_toy(tmp_path, strategies={"finetune": None})
    with contextlib.chdir(tmp_path):
        assert cli.main(["compare", "toyexp.yaml"]) == 2
        assert not Path("store/nodes").exists()
    assert "nothing to be compared with" in capsys.readouterr().err


def test_answers_must_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.chdir(write_stream(tmp_path)):
        command = ["compare", "toyexp.yaml", "--strategies={lora_sequential: , lora_incremental: }"]
        assert cli.main([*command, "--compare.items=strict", "--evaluation.items=0"]) == 2
        assert "compare.items: strict is a score of answers" in capsys.readouterr().err


@pytest.mark.slow
def test_a_comparison_tells_of_single_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.chdir(write_stream(tmp_path)):
        command = ["compare", "toyexp.yaml", "--strategies={lora_sequential: , lora_replay: }"]
        assert cli.main([*command, "--compare.items=format_ok", "--seeds=[0,1]"]) == 0
    folder = tmp_path / "results" / "toyexp"
    (item,) = json.loads((folder / "comparison.json").read_text())["items"]
    assert (item["a"], item["b"], item["units"], item["tasks"]) == ("lora_replay", "lora_sequential", 2, 2)
    contrast = json.loads((folder / "comparison.json").read_text())["contrasts"][0]
    assert contrast["metric"] == "op_final"
    said = f"{item['questions']} questions of 2 tasks in 2 units"
    assert said in " ".join(capsys.readouterr().out.split())
    assert said in (folder / "comparison.html").read_text()
    assert said in " ".join(yaml.safe_load((folder / "comparison.yaml").read_text())["tests"]["single_answers"])
