"""A damaged store: every file of every node, in every way; the result is the same, or there is none."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from cl.execution.store import Store
from cl.execution.verification import verify
from tests.support.damage import damage
from tests.support.training import matrix, start, weights, write_toy

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy experiment, finished."""
    folder = write_toy(tmp_path_factory.mktemp("whole"))
    again(folder)
    return folder


def again(folder: Path) -> str:
    """Run the experiment; what it printed, on one line."""
    ended = start(folder, "--tracking.uri=none")
    assert ended.returncode == 0, ended.stderr[-2000:]
    return " ".join(ended.stdout.split())


def kind_of(node: Path) -> str:
    return str(json.loads((node / "node.json").read_text())["identity"]["kind"])


@pytest.mark.parametrize("how", ["flipped", "cut off", "emptied", "deleted"])
def test_what_is_read_is_checked_and_made_again(tmp_path: Path, whole: Path, how: str) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "copy"))
    nodes = list((folder / "store" / "nodes").iterdir())
    for node in nodes:
        if kind_of(node) == "evaluate":  # so that the others are read again
            shutil.rmtree(node)
            continue
        for file in node.rglob("*.*"):
            if file.name != "node.json":
                damage(file, how)
    assert "set aside in" in again(folder)
    assert (matrix(folder), weights(folder)) == (matrix(whole), weights(whole))
    store = Store(folder / "store")
    assert [key for key in store.folders() if verify(store, key)] == []
    assert len(list((folder / "store" / "damaged").iterdir())) == len(nodes) - 3  # all but the rows of R


@pytest.mark.parametrize("how", ["flipped", "cut off", "emptied", "deleted"])
def test_damaged_records_are_no_results(tmp_path: Path, whole: Path, how: str) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "copy"))
    for node in (folder / "store" / "nodes").iterdir():
        damage(node / "node.json", how)
    again(folder)
    assert (matrix(folder), weights(folder)) == (matrix(whole), weights(whole))
    store = Store(folder / "store")
    assert [key for key in store.folders() if verify(store, key)] == []


def test_a_digit_of_a_score_is_no_other_score(tmp_path: Path, whole: Path) -> None:
    """The fault that began this: one digit of a record turned a fall into a rise."""
    folder = Path(shutil.copytree(whole, tmp_path / "copy"))
    row = next(node for node in (folder / "store" / "nodes").iterdir() if kind_of(node) == "evaluate")
    text = (row / "node.json").read_text()
    changed = re.sub(r'("cells".*?: \d+)\.', r"\g<1>1.", text, count=1, flags=re.DOTALL)
    assert changed != text
    (row / "node.json").write_text(changed)
    again(folder)
    assert matrix(folder) == matrix(whole)
