"""The page of a study."""

from __future__ import annotations

import contextlib
from pathlib import Path

import optuna
import pytest

from cl.config import loading
from cl.reporting.html import tuning as report
from cl.tuning import optuna_study, studies
from tests.support.tuning import toy


@pytest.mark.slow
def test_every_picture_of_one_and_of_two_objectives_can_be_drawn(tmp_path: Path) -> None:
    share = {"replay": {"share": {"value": 0.1, "choices": [0.1, 0.5]}}}
    for objectives in (["op_final_nll"], ["mft_nll", "bwt_nll"]):
        tune = {"protocol": "oracle", "objectives": objectives}
        toy(tmp_path, tune, strategies={"rewarm_replay": None}, strategy=share)
        with contextlib.chdir(tmp_path):
            whole, (plan,) = studies.plan(*loading.read("toyexp.yaml"))
        study = optuna.create_study(directions=plan.directions)
        for number in range(6):
            asked = study.ask()
            values = [
                sum(each.suggest(asked) for each in plan.space.values()) * (place + 1)
                for place in range(len(objectives))
            ]
            if len(objectives) == 1:
                asked.report(float(number), 100)
            study.tell(asked, values)
        done = optuna_study.Done(plan, study, optuna_study.choose(study), "sqlite://")
        names = {name.partition(" ")[0] for name in report.figures(done)}
        assert names == {"front" if len(objectives) > 1 else "history", "slice", "importance", "timeline"} | (
            {"inside"} if len(objectives) == 1 else set()
        )
        report.write(whole, studies.tuned(whole, [(plan, done.chosen.params)]), [done], tmp_path / "page.html")
        page = (tmp_path / "page.html").read_text()
        assert "CHEATING" in page
        assert page.count("<tr") == 7
