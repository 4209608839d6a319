"""`cl new`: every file of the folder runs as written; and the wheel brings what it needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from cl import cli

ROOT = Path(__file__).parents[2]
FILES = {
    "README.md",
    "pull.py",
    "test_pull.py",
    "data/english.txt",
    "data/german.txt",
    "experiments/my-study.yaml",
    "scenarios/my-study.yaml",
    "strategies/pulled.yaml",
}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new", "my-study"]) == 0
    monkeypatch.chdir(tmp_path / "my-study")
    return tmp_path / "my-study"


def test_its_files(study: Path) -> None:
    found = {file.relative_to(study).as_posix() for file in study.rglob("*") if file.is_file()}
    assert found == FILES
    assert "$" not in "".join((study / file).read_text() for file in FILES if not file.startswith("data"))


def test_its_files_are_right(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "experiments/my-study.yaml", "--allow-code=."]) == 0
    assert cli.main(["check", "scenarios/my-study.yaml"]) == 0
    assert cli.main(["check", "strategies/pulled.yaml", "--allow-code=."]) == 0
    assert "3 runs" in capsys.readouterr().out


@pytest.mark.slow
def test_it_runs_as_written_and_its_tests_pass(study: Path) -> None:
    environ = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{study}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "cl.cli", "run", "my-study", "--allow-code=.", "--tracking.uri=none"]
    done = subprocess.run(command, cwd=study, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    runs = json.loads((study / "results" / "my-study" / "results.json").read_text())["runs"]
    assert [run["strategy"] for run in runs] == ["finetune", "rewarm_replay", "pulled"]
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_pull.py"]
    done = subprocess.run(tests, cwd=study, env=environ, capture_output=True, text=True, check=False)
    assert "3 passed" in done.stdout, done.stdout[-2000:]


@pytest.mark.parametrize(("name", "error"), [("a study", "use letters, digits"), (".", "use letters, digits")])
def test_names_of_no_file_are_refused(name: str, error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["new", name]) == 2
    assert error in capsys.readouterr().err


def test_a_folder_that_holds_something_is_kept(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["new", str(study)]) == 2
    assert "exists and is not empty; name a new folder" in capsys.readouterr().err


@pytest.mark.slow
def test_a_wheel_brings_experiments_scenarios_strategies_and_templates(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("cl", "strategies", "scenarios", "experiments", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).parent.mkdir(exist_ok=True)
        subprocess.run(["cp", "-r", str(ROOT / name), str(source / name)], check=True)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(tmp_path)]
    subprocess.run([*command, str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        file.extractall(tmp_path / "site")
    assert {"experiments/quickstart.yaml", "scenarios/tiny/english.txt", "strategies/penalties/ewc.yaml"} <= names
    assert {"cl/templates/pull.py.txt", "cl/templates/experiments/study.yaml.txt"} <= names
    assert not any(name.startswith(("tests/", "experiments/recorded/")) for name in names)
    (tmp_path / "empty").mkdir()
    program = "import sys; from cl.cli import main; sys.exit(main(['list', 'experiments']))"
    environ = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "COLUMNS": "200"}
    call = [sys.executable, "-P", "-c", program]
    done = subprocess.run(call, cwd=tmp_path / "empty", env=environ, capture_output=True, text=True, check=False)
    assert "quickstart" in done.stdout, done.stderr
