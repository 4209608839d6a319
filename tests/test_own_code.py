"""Code of users: nothing runs that they did not allow, and nothing is constructed that is not of the right kind."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cl import cli, construction, own_code, registry
from cl.errors import UserError

METHOD = """
from dataclasses import dataclass
from pathlib import Path

from cl.methods.method import Trains

Path("RAN").touch()


@dataclass(eq=False)
class Mine(Trains):
    weight: float = 1.0


class Other:
    def __init__(self) -> None:
        Path("CONSTRUCTED").touch()
"""
SCENARIO = """
summary: one
version: 1
tasks:
  one: {{sources: [{source}]}}
"""
EXPERIMENT = """
scenario: one.yaml
model: {{name: llama-tiny, vocabulary: 300}}
tokens: 64
strategies: {{a: {{from: finetune, {method}: {{}}}}}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a module, and nothing allowed."""
    monkeypatch.delenv(own_code.VARIABLE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine").mkdir()
    for name in ("method_of_mine.py", "mine/method_elsewhere.py"):
        (tmp_path / name).write_text(METHOD)
    return tmp_path


def command(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and errors of `cl` in a process of its own, as installed: without the working directory on the path."""
    call = [sys.executable, "-P", "-m", "cl.cli", *arguments]
    root = {"PYTHONPATH": str(Path(cli.__file__).parents[1])}
    ended = subprocess.run(call, cwd=folder, env=os.environ | root, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("source", [
    '{source: "subprocess:Popen", args: "touch PWNED", shell: true}',
    '{source: "os:system", command: "touch PWNED"}',
    '{source: "method_of_mine:Other"}',
    '{source: "pathlib:Path"}',
    '{source: "cl.execution.store:Store", url: PWNED}',
    '{source: preferences, of: {source: "subprocess:Popen", args: "touch PWNED", shell: true}}',
])  # fmt: skip
@pytest.mark.parametrize("allow", [[], ["--allow-code"]])
def test_a_scenario_runs_no_command(folder: Path, source: str, allow: list[str]) -> None:
    (folder / "one.yaml").write_text(SCENARIO.format(source=source))
    (folder / "exp.yaml").write_text(EXPERIMENT.format(method="rewarm_cosine"))
    for arguments in (["plan", "exp.yaml", *allow], ["scenario", "show", "one.yaml", *allow]):
        code, errors = command(folder, *arguments)
        assert (code, len(errors.splitlines())) == (2, 1), errors
        assert not (folder / "PWNED").exists()
        assert not (folder / "CONSTRUCTED").exists()


@pytest.mark.parametrize("kind", ["methods", "probes", "sources"])
@pytest.mark.parametrize("path", ["subprocess:Popen", "method_of_mine:Mine", "no_such_module:X", "os.path:join"])
def test_code_that_is_not_allowed_is_not_imported(folder: Path, kind: registry.Classes, path: str) -> None:
    remedy = r"is code from outside of this project; read it, then add --allow-code=FOLDER"
    with pytest.raises(UserError, match=remedy):
        construction.build(kind, path, {}, "here")
    assert not (folder / "RAN").exists()
    assert "method_of_mine" not in sys.modules


def test_a_named_folder_is_allowed_and_no_other(folder: Path) -> None:
    with own_code.allowed(["mine"]):
        assert registry.find("methods", "method_elsewhere:Mine", "here").__name__ == "Mine"
        for path in ("method_of_mine:Mine", "json:JSONDecoder"):
            with pytest.raises(UserError, match="from outside of this project"):
                registry.find("methods", path, "here")
    with pytest.raises(UserError, match="from outside of this project"):
        registry.find("methods", "method_elsewhere:Mine", "here")


def test_everything_is_allowed_if_asked_for_but_only_classes_of_the_kind_are_built(folder: Path) -> None:
    with own_code.allowed([own_code.ANY]):
        assert registry.find("methods", "method_of_mine:Mine", "here").__name__ == "Mine"
        with pytest.raises(UserError, match=r"no class of methods: it lacks what cl\.methods\.method\.Method has"):
            registry.find("methods", "method_of_mine:Other", "here")
        with pytest.raises(UserError, match=r"no class of sources: it lacks what cl\.tasks\.task\.Source has"):
            construction.build("sources", "subprocess:Popen", {"args": "touch PWNED", "shell": True}, "here")
    assert not (folder / "CONSTRUCTED").exists()


def test_an_installed_entry_point_is_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("installed", "strategies.penalties.ewc:EWC", "cl.methods")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point] if group == "cl.methods" else [])
    assert registry.find("methods", "installed", "here").__name__ == "EWC"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "x", "--allow-code"], (["*"], ["run", "x"])),
        (["--allow-code=mine", "plan", "x", "--allow-code=."], (["mine", "."], ["plan", "x"])),
        (["run", "x"], ([], ["run", "x"])),
    ],
)
def test_the_option(arguments: list[str], expected: Any) -> None:
    assert own_code.taken(arguments) == expected


def test_a_folder_that_does_not_exist_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "models", "--allow-code=nowhere"]) == 2
    assert "--allow-code: there is no folder 'nowhere'" in capsys.readouterr().err
