"""`cl explain` and `cl store accept` on the toy experiment, with sources that are really edited."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.training import ROOT, write_toy


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, preloaded_python: str) -> Iterator[Path]:
    """A copy of the sources in which the toy experiment has run."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("cl", "strategies", "scenarios"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "pyproject.toml").write_text("")
    write_toy(folder / "toy", strategies={"finetune": None})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", preloaded_python)  # which has not imported `cl`
        assert "executed in this call" in cl(folder, "run", "toyexp.yaml", "--tracking.uri=none")
        yield folder


def cl(folder: Path, *arguments: str) -> str:
    """A command in a process of its own, with the copied sources; returns everything that it prints."""
    program = f"import sys; sys.path.insert(0, {str(folder)!r}); from cl.cli import main; sys.exit(main())"
    call = [sys.executable, "-P", "-c", program, *arguments]
    wide = os.environ | {"COLUMNS": "200"}
    done = subprocess.run(call, cwd=folder / "toy", capture_output=True, text=True, env=wide, check=False)
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.split())


def edit(folder: Path, file: str, old: str, new: str) -> None:
    path = folder / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.slow
def test_an_edit_is_explained_accepted_and_taken_back(toy: Path) -> None:
    assert "Everything is stored" in cl(toy, "explain", "toyexp.yaml")
    setting = cl(toy, "explain", "toyexp.yaml", "--train.lr=1e-4")
    assert "setting train.lr 0.003 0.0001" in setting
    edit(toy, "cl/training/learner.py", "self.step += 1", "self.step = self.step + 1")
    explained = cl(toy, "explain", "toyexp.yaml")
    assert "code" in explained
    assert "cl.training.learner:Learner" in explained
    assert "cl store accept toyexp.yaml --dry-run" in explained
    assert "4 nodes would be accepted" in cl(toy, "store", "accept", "toyexp.yaml", "--dry-run")
    assert "4 nodes are accepted" in cl(toy, "store", "accept", "toyexp.yaml")
    assert "Everything is stored" in cl(toy, "explain", "toyexp.yaml")
    again = cl(toy, "run", "toyexp.yaml", "--tracking.uri=none")
    assert "0 executed in this call" in again
    assert "2 nodes were computed by other code (cl.training.learner:Learner); accepted as equal by" in again
    assert "2 nodes have accepted ancestors" in again
    assert "nodes were computed by other code" in (toy / "toy/results/toyexp/report.html").read_text()
    assert "4 declarations are taken back" in cl(toy, "store", "accept", "toyexp.yaml", "--undo")
    assert "train english" in cl(toy, "explain", "toyexp.yaml", "train english")
    edit(toy, "cl/training/learner.py", "self.step = self.step + 1", "self.step += 1")
    assert "Everything is stored" in cl(toy, "explain", "toyexp.yaml")
