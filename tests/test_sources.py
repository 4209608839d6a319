from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cl.graph import code_version

SOURCE = '''\
"""Module."""
import os
from cl import losses
from cl.data.mixture import Ledger

RATE = 2  # a comment

def double(x):
    """Twice."""
    return RATE * x
'''


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Modules of one test are not found by the next."""
    yield
    code_version._find.cache_clear()


def fingerprint_of(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Fingerprint of a module `changed` with that source, which stands beside no other."""
    folder = tmp_path / str(abs(hash(text)))
    folder.mkdir()
    (folder / "changed.py").write_text(text, encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(folder))
        code_version._find.cache_clear()
        return code_version.fingerprint(["changed"])


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("# a comment", "# another comment", False),
        ('"""Twice."""', '"""Two times x."""', False),
        ('    """Twice."""\n', "", False),
        ('"""Module."""', '"""What it is for."""', False),
        ("RATE * x", "(RATE*x)", False),
        ("RATE = 2", "RATE = 3", True),
        ("RATE * x", "RATE + x", True),
        ("def double(x)", "def double(x=1)", True),
        ("from cl import losses", "from cl import schedules", True),
    ],
)
def test_code_counts_and_its_explanation_does_not(
    old: str, new: str, changes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert old in SOURCE
    before = fingerprint_of(SOURCE, tmp_path, monkeypatch)
    after = fingerprint_of(SOURCE.replace(old, new) + "\n", tmp_path, monkeypatch)
    assert (before != after) == changes


@pytest.mark.parametrize(
    ("change", "changes"),
    [
        (lambda text: text.replace('"""Execute a train node', '"""Compute a train node'), False),
        (lambda text: f"# why\n{text}", False),
        (lambda text: text.replace("1_000_003", "1_000_033"), True),
    ],
    ids=["docstring", "comment", "code"],
)
@pytest.mark.parametrize("asked", ["cl.steps.train", "user_of_training"])
def test_an_edit_of_training_is_seen_from_above(
    change: object, changes: bool, asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = code_version.path_of("cl.steps.train")
    assert callable(change)
    edited = tmp_path / "training.py"
    edited.write_text(change(original.read_text(encoding="utf-8")), encoding="utf-8")
    assert edited.read_text(encoding="utf-8") != original.read_text(encoding="utf-8")
    user = tmp_path / "user.py"
    user.write_text("import cl.steps.train\n", encoding="utf-8")
    find = code_version._find

    def path_of(name: str, training: Path) -> Path:
        special = {"cl.steps.train": training, "user_of_training": user}
        return special.get(name) or find(name) or pytest.fail(name)

    monkeypatch.setattr(code_version, "path_of", lambda name: path_of(name, original))
    before = code_version.fingerprint([asked])
    monkeypatch.setattr(code_version, "path_of", lambda name: path_of(name, edited))
    assert (code_version.fingerprint([asked]) != before) == changes


def test_closure_follows_all_imports_of_ours() -> None:
    found = code_version.closure(["cl.steps.train"])
    assert {
        "cl.steps.train",
        "cl.training.learner",
        "cl.models.losses",
        "cl.data.mixture",
        "cl.models.pretrained",
    } <= found
    assert not found & {
        "cl.reporting.mlflow",
        "cl.execution.store",
        "cl.cli",
        "cl.reporting.html",
        *code_version.NEUTRAL,
    }
    assert all(name.startswith("cl.") for name in found)
    assert "strategies.schedules.rewarm" in code_version.closure(["strategies.schedules.infinite"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import os, json.decoder", set()),
        ("import torch.nn", set()),
        ("import helper", {"helper"}),
        ("import pack.part", {"pack.part"}),
        ("from pack import part, value", {"pack", "pack.part"}),
        ("from pack.part import value", {"pack.part"}),
        ("def f():\n    import helper", {"helper"}),
        ("if TYPE_CHECKING:\n    import helper\nelse:\n    import pack", {"pack"}),
        ("if typing.TYPE_CHECKING:\n    import helper", set()),
        ("import chain", {"chain", "helper"}),
    ],
)
def test_imports(text: str, expected: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"method.py": text, "helper.py": "", "chain.py": "import helper"})
    monkeypatch.syspath_prepend(str(tmp_path))
    assert code_version.closure(["method"]) == {"method"} | expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from . import value", {"pack"}),
        ("from . import part", {"pack.part"}),
        ("from .part import value", {"pack.part"}),
        ("from ..helper import value", {"helper"}),
        ("from .part import *", {"pack.part"}),
    ],
)
def test_relative_imports(text: str, expected: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if ".." in text:
        text, expected = text.replace("..helper", "..other"), {"pack.other"}
    write(tmp_path, {"pack/method.py": text, "pack/inner/method.py": text, "pack/other.py": ""})
    monkeypatch.syspath_prepend(str(tmp_path))
    asked = "pack.inner.method" if ".." in text else "pack.method"
    assert code_version.closure([asked]) == {asked} | expected


def test_a_missing_module_is_an_error() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        code_version.closure(["no_such_module"])


def test_hashing_imports_nothing() -> None:
    program = (
        "import sys; from cl.graph import code_version;"
        "code_version.fingerprint(['cl.steps.train', 'strategies.rehearsal.replay']);"
        "heavy = {'torch', 'transformers', 'pytorch_lightning', 'cl.steps.train', 'cl.models.pretrained'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in {"pack/__init__.py": "", "pack/part.py": "", **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
