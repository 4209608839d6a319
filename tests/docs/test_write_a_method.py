"""The example of docs/write_a_method.md: its blocks are written into a folder, tested, planned and trained."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.training import keys, results, run, write_toy

PAGE = Path(__file__).parents[2] / "docs" / "write_a_method.md"
BLOCK = re.compile(r"^```\w+\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = dict(BLOCK.findall(PAGE.read_text(encoding="utf-8")))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder: the files of the page, and an experiment with the page's strategy and plain fine-tuning."""
    write_toy(tmp_path, strategies={"anchored": None, "plain": None})
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "plain.yaml").write_text("{summary: plain, methods: [rewarm_cosine]}")
    for name, content in BLOCKS.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "anchor", raising=False)
    return tmp_path


def test_the_page_has_the_files_that_it_speaks_of() -> None:
    assert list(BLOCKS) == ["anchor.py", "strategies/anchored.yaml", "test_anchor.py"]


def test_its_tests_pass(folder: Path) -> None:
    tests = importlib.import_module("test_anchor")
    found = [name for name in vars(tests) if name.startswith("test_")]
    assert len(found) >= 4
    for name in found:
        getattr(tests, name)()
    del sys.modules["test_anchor"]


def test_the_first_task_is_shared_with_plain_fine_tuning_and_the_second_is_not(folder: Path) -> None:
    (first, second), (plain_first, plain_second) = keys(folder)
    assert first == plain_first
    assert second != plain_second
    ((_, weighed),) = keys(folder, "--strategies={anchored: {anchor:Anchor: {weight: 0.1}}}")
    assert weighed != second


@pytest.mark.slow
def test_it_trains_and_its_term_is_on_the_curve(folder: Path) -> None:
    run(folder)
    stages = {each["strategy"]: each["stages"] for each in results(folder)["runs"]}
    first, second = stages["anchored"]
    assert not first["points"][-1]["terms"]
    assert second["points"][-1]["terms"]["anchor"] > 0
    assert "anchor/ratio" in second["points"][-1]["terms"]
    assert stages["plain"][1]["points"][-1]["loss"] != second["points"][-1]["loss"]


@pytest.mark.usefixtures("forked")
@pytest.mark.slow
def test_the_page_s_test_file_runs_with_pytest(folder: Path) -> None:
    variables = os.environ | {"PYTHONPATH": str(PAGE.parents[1])}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_anchor.py"]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
