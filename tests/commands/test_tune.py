"""`cl tune` as a user runs it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import yaml

from cl import cli
from tests.support.tuning import toy, tuned


@pytest.mark.usefixtures("forked")
@pytest.mark.slow
def test_tune_then_compare_as_a_user_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = toy(tmp_path, {"protocol": "first_k"}, strategies={"finetune": None, "rewarm": None})
    (folder / "strategies").mkdir()  # of the user's own, in the folder where trials begin
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    found = tuned(folder, f"--tracking.uri={uri}")
    assert [study["strategy"] for study in found] == ["finetune", "rewarm"]
    assert {len(study["trials"]) for study in found} == {3}
    assert found[0]["trials"][0]["params"] == {"train.lr": 3e-3}  # the file's own value comes first
    values = [one["values"][0] for one in found[0]["trials"] if one["values"]]
    assert min(values) == found[0]["trials"][found[0]["chosen"]]["values"][0]
    # the first task of both strategies is one node, and the samplers begin alike: the second study executes none
    assert found[0]["counts"]["executed"] == 3
    assert found[1]["counts"]["executed"] == 0
    again = tuned(folder)  # all trials are there
    assert [study["trials"] for study in again] == [study["trials"] for study in found]
    with contextlib.chdir(folder):
        assert (Path("results/toyexp") / "tuning.html").stat().st_size > 1e6
        capsys.readouterr()
        assert cli.main(["compare", "toyexp.yaml", "--tracking.uri=none", "--tuned=results/toyexp/tuned.yaml"]) == 0
        record = yaml.safe_load(Path("results/toyexp/comparison.yaml").read_text())
        assert "chosen by first_k" in capsys.readouterr().out
        assert record["hyperparameter_selection"].startswith("hyperparameters chosen by first_k: 3 trials of tpe")
        (contrast,) = json.loads(Path("results/toyexp/comparison.json").read_text())["contrasts"]
        runs = {run["strategy"]: run for run in json.loads(Path("results/toyexp/results.json").read_text())["runs"]}
        german = {label: run["matrix"]["2"]["german"] for label, run in runs.items()}
        loss = {label: cell["nll"] / cell["tokens"] for label, cell in german.items()}
        assert contrast["mean"] == pytest.approx(loss["rewarm"] - loss["finetune"])  # what was tuned on does not count
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    (logged,) = client.search_experiments(filter_string="name = 'toyexp'")
    names = {run.info.run_name: run for run in client.search_runs([logged.experiment_id])}
    assert names["tune rewarm"].data.metrics["tune/complete"] + names["tune rewarm"].data.metrics["tune/pruned"] == 3
