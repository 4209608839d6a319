"""Nodes as Slurm jobs: how they are grouped and submitted, and that the scripts of submitit really compute."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import submitit

from cl import cli, signals
from cl.commands import shared
from cl.config import loading
from cl.config.runtime import Cluster
from cl.errors import UserError
from cl.execution import runner
from cl.execution.launchers import launcher, slurm, worker
from cl.execution.store import Store
from cl.graph import planner
from tests.support.training import results, write_toy

SBATCH = """#!/bin/bash
# A Slurm that never starts a job: keeps the script under the next number.
number=$(( $(ls "$QUEUE" | wc -l) + 1 ))
cp "$1" "$QUEUE/$number"
echo "Submitted batch job $number"
"""
SRUN = """#!/bin/bash
# Runs the command behind its own options here.
while [ ! -x "$1" ]; do shift; done
exec "$@"
"""
SQUEUE = """#!/bin/bash
if [ -e "$QUEUE/../broken" ]; then echo "slurm_load_jobs error: Unable to contact controller" >&2; exit 1; fi
cat "$QUEUE/../waiting" 2>/dev/null || true
"""
RUN = ["run", "toyexp.yaml", "--tracking.uri=none", "--launcher=slurm"]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The toy experiment beside a fake Slurm."""
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("squeue", SQUEUE)):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(stat.S_IRWXU)
    (tmp_path / "queue").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("QUEUE", str(tmp_path / "queue"))
    monkeypatch.setattr(shared.console, "width", 120)
    with contextlib.chdir(write_toy(tmp_path / "toy")):
        yield tmp_path


def scripts(toy: Path) -> dict[int, str]:
    return {int(file.name): file.read_text() for file in sorted((toy / "queue").iterdir(), key=lambda f: int(f.name))}


def flags(script: str) -> dict[str, str]:
    return {name: value.strip("'") for name, value in re.findall(r"#SBATCH --([\w-]+)=(.*)", script)}


def test_a_job_asks_for_what_the_experiment_says(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--train.device=cuda", "--cluster.slurm.partition=a100", "--cluster.minutes=90", "--cluster.cpus=4"]
    assert cli.main([*RUN, *settings]) == 0
    found = {number: flags(script) for number, script in scripts(toy).items()}
    assert [each["job-name"] for each in found.values()] == [
        "tokenizer, base, data",
        "train english",
        "train german",
        "evaluate row 0 after llama-tiny",
        "evaluate row 1 after english",
        "evaluate row 2 after german",
        "report toyexp",
    ]
    assert [each.get("gpus-per-node") for each in found.values()] == [None, "1", "1", "1", "1", "1", None]
    assert [each.get("dependency") for each in found.values()] == [
        None,
        "afterok:1",
        "afterok:1:2",
        "afterok:1",
        "afterok:1:2",
        "afterok:1:3",
        "afterok:1:2:3:4:5:6",
    ]
    for each in found.values():
        assert (each["partition"], each["time"], each["cpus-per-task"]) == ("a100", "90", "4")
        assert ("dependency" in each) == (each.get("kill-on-invalid-dep") == "yes")
    assert "submitted 7 jobs, 1 to 7" in capsys.readouterr().out


def test_a_stage_of_several_machines_is_a_job_with_a_task_on_each(toy: Path) -> None:
    assert cli.main([*RUN, "--train.device=cuda", "--train.nodes=2", "--train.devices=2", "--cluster.cpus=3"]) == 0
    for script in scripts(toy).values():
        each = flags(script)
        trains = each["job-name"].startswith("train ")
        assert each["nodes"] == ("2" if trains else "1")
        assert ("kill-on-bad-exit" in script) == trains
        if trains:
            wanted = (each["ntasks-per-node"], each["gpus-per-node"], each["cpus-per-task"])
            assert wanted == ("1", "2", "6")


def test_the_first_machine_of_a_job_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[str, Any]] = []
    monkeypatch.setattr(worker, "work", lambda *args: called.append(("work", args[:3])))
    monkeypatch.setattr(worker, "work_along", lambda *args: called.append(("along", args)))
    monkeypatch.setattr(submitit.JobEnvironment, "_usr_sig", lambda: signal.SIGUSR2)
    for place in ("0", "1"):
        monkeypatch.setenv("SLURM_PROCID", place)
        slurm.Work({}, "store", 2)()
    assert called == [("work", ({}, "store", 2)), ("along", ({}, "store", 2, 1))]


def test_the_job_that_reports_settles_nothing_anew(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine might come to another device, precision or compile, and so to other keys."""
    asked: list[list[str]] = []

    def submit(todo: Any, store: Any, cluster: Any, name: str, report: list[str]) -> tuple[list[str], Path]:
        asked.append(report)
        return ["1"], Path("logs")

    monkeypatch.setattr(slurm, "submit", submit)
    assert cli.main([*RUN, "--train.precision=auto"]) == 0
    planned = planner.build(loading.load("toyexp.yaml", ["--train.precision=auto"]))
    assert asked[0][4:] == [
        *RUN,
        "--train.precision=auto",
        "--train.device=cpu",
        f"--train.precision={planned.compute.precision}",
        "--train.compile=false",
        "--train.attention=sdpa",
        "--launcher=local",
    ]
    again = planner.build(loading.load("toyexp.yaml", asked[0][6:-1]))
    assert [run.key for run in again.runs] == [run.key for run in planned.runs]


def test_where_everything_is_stored_there_is_nothing_to_submit(toy: Path) -> None:
    launcher.execute([], Store("store"), worker.Log(), loading.load("toyexp.yaml", ["--launcher=slurm"]))


def test_a_plan_shows_the_jobs_and_submits_none(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", *RUN[1:]]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"3 train german +1 +1, 2 +0 ", shown)
    assert not scripts(toy)


@pytest.mark.usefixtures("forked")
@pytest.mark.slow
def test_the_scripts_compute_what_the_local_launcher_does_and_report(toy: Path) -> None:
    (Path("strategies")).mkdir()  # of the user's own, in the folder where jobs begin
    assert cli.main([*RUN, "--upto=1"]) == 0
    for number in scripts(toy):
        job = subprocess.run(
            ["bash", str(toy / "queue" / str(number))],
            env=os.environ | {"SLURM_JOB_ID": str(number), "SLURM_NTASKS": "1", "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert job.returncode == 0, job.stderr
    there = results(toy / "toy")
    assert cli.main(["run", "toyexp.yaml", "--tracking.uri=none", "--store=local", "--upto=1"]) == 0
    assert there["runs"][0]["matrix"] == results(toy / "toy")["runs"][0]["matrix"]
    assert there["executed"] == 0  # by the job that reports
    assert "cl run toyexp.yaml" in there["command"]


def test_what_is_in_the_queue_is_not_submitted_again(toy: Path) -> None:
    assert cli.main(RUN) == 0
    (toy / "waiting").write_text("3\n4\n")
    planned = planner.build(loading.load("toyexp.yaml"))
    todo = runner.pending([planned.base], store := Store("store"))
    with pytest.raises(UserError, match="jobs of this experiment are in the queue: 3, 4; wait, or scancel them"):
        slurm.submit(todo, store, Cluster(), "toyexp", ["true"])
    (toy / "broken").touch()
    with pytest.raises(UserError, match="squeue cannot list the queue: slurm_load_jobs error"):
        slurm.submit(todo, store, Cluster(), "toyexp", ["true"])
    (toy / "broken").unlink()
    (toy / "waiting").unlink()
    assert len(slurm.submit(todo, store, Cluster(), "toyexp", ["true"])[0]) == 2


def test_a_job_that_is_stopped_asks_for_the_same_work_again() -> None:
    work = slurm.Work({"rows": []}, "store", 2)
    again = work.checkpoint()
    assert again.function is work


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("--cluster.slurm.color=red", "cluster.slurm: Unavailable parameter(s): ['color']"),
        ("--cluster.minutes=0", "cluster.minutes: 0 must be at least 1"),
    ],
)
def test_a_wrong_setting_is_one_line(toy: Path, capsys: pytest.CaptureFixture[str], setting: str, words: str) -> None:
    assert cli.main([*RUN, setting]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_where_there_is_no_slurm_it_is_said(toy: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (toy / "bin" / "srun").unlink()
    assert cli.main(RUN) == 2
    assert "launcher: there is no Slurm here" in capsys.readouterr().err


def test_orders_and_trials_are_not_for_slurm(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["order", "record", *RUN[1:]]) == 2
    assert "launcher: slurm is for `cl run` and `cl compare` only" in capsys.readouterr().err
    assert cli.main(["tune", *RUN[1:], "--train.lr={value: 1e-3, low: 1e-4, high: 1e-2, log: true}"]) == 2
    assert "launcher: slurm is not for trials" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "queued"), [(signal.SIGUSR2, True), (signal.SIGTERM, False)])
def test_a_job_that_is_stopped_ends_its_step_before_it_is_queued_again(
    monkeypatch: pytest.MonkeyPatch, number: int, queued: bool
) -> None:
    told: list[int] = []
    ended: list[str] = []

    def work(*_: Any) -> None:
        signals.unsaved(True)
        os.kill(os.getpid(), number)
        ended.append("step")
        signals.check()

    monkeypatch.setattr(worker, "work", work)
    before = signal.signal(signal.SIGUSR2, lambda number, frame: told.append(number))  # as submitit does
    try:
        with pytest.raises(SystemExit) as caught:
            slurm.Work({}, "store", 1)()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert caught.value.code == 128 + number
    assert ended == ["step"]
    assert told == ([number] if queued else [])
