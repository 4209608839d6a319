"""`cl check`: each kind of file, and what is wrong with one in a line; without torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cl import cli

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("experiments/quickstart.yaml", "is an experiment: 4 runs"),
        ("scenarios/tiny.yaml", "is a scenario: tasks english > german"),
        ("strategies/penalties/ewc.yaml", "is a strategy: rewarm_cosine, ewc"),
    ],
)
def test_each_kind_of_file(
    file: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert cli.main(["check", file]) == 0
    assert told in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("content", "settings", "error"),
    [
        (
            "scenario: tiny\nmodel: {name: llama-tiny}\nstrategies: {finetun: }\ntokens: 100",
            [],
            "did you mean 'finetune'",
        ),
        ("{summary: s, version: 1, tasks: {a: {sources: [{source: files, path: no.txt}]}}}", [], "no.txt"),
        ("methods: [rewarm_cosin]", [], "did you mean 'rewarm_cosine'"),
        ("methods: [rewarm_cosine]", ["--train.lr=1"], "--train.lr=1: is a setting of an experiment"),
        ("- a", [], "must hold `key: value` lines"),
        ("a: [", [], "mine.yaml"),
    ],
)
def test_what_is_wrong(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    content: str,
    settings: list[str],
    error: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(content)
    assert cli.main(["check", "mine.yaml", *settings]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert error in line


def test_an_absent_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "absent.yaml"]) == 2
    assert "check: there is no YAML file 'absent.yaml'" in capsys.readouterr().err


def test_no_torch_is_loaded() -> None:
    program = (
        "import sys; from cl.cli import main; main(['check', 'experiments/quickstart.yaml']);"
        "sys.exit(bool({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    call = [sys.executable, "-P", "-c", program]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run(call, cwd=ROOT, env=environ, capture_output=True, check=False).returncode == 0
