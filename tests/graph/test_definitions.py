"""The canonical form of definitions: what counts as code, and that no name does."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from cl.graph import code_version, definitions, source_files

SOURCE = '''\
"""Module."""
import os
import torch.nn.functional as F
from cl.errors import UserError
from helper import scale

RATE = 2  # a comment

class Box:
    """A box."""
    size: int = 3

    def volume(self, side: float) -> float:
        """Its volume."""
        if side < 0:
            raise UserError(f"side: {side} must not be negative")
        return F.relu(scale(side)) * RATE

def double(x):
    """Twice."""
    rows = [RATE * each for each in (x,)]
    return Box().volume(rows[0]) + os.getpid()
'''
HELPER = "FACTOR = 5\n\ndef scale(x):\n    return FACTOR * x\n\ndef unused():\n    return 1\n"
counter = itertools.count()


def forget() -> None:
    for cached in (source_files.read, source_files.find, source_files.is_ours, definitions.definition):
        cached.cache_clear()
    for hashed in (code_version.fingerprint, code_version.closure):
        hashed.cache_clear()


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Modules of one test are not found by the next."""
    yield
    forget()


def fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str = "changed:double", **files: str) -> str:
    folder = tmp_path / str(next(counter))
    folder.mkdir()
    for name, text in ({"changed": SOURCE, "helper": HELPER} | files).items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(folder))
        forget()
        return code_version.fingerprint((entry,))


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("# a comment", "# another comment", False),
        ('    """Twice."""\n', "", False),
        ('"""Module."""', '"""What it is for."""', False),
        ("RATE * each", "(RATE*each)", False),
        ("side: float) -> float", "side: int) -> object", False),
        ("size: int = 3", "size: float = 3", False),
        ("must not be negative", "must be at least 0", False),
        ("import torch.nn.functional as F", "import torch.nn.functional as F, re", False),
        ("RATE = 2", "RATE = 3", True),
        ("RATE * each", "RATE + each", True),
        ("def double(x)", "def double(x=1)", True),
        ("size: int = 3", "size: int = 4", True),
        ("os.getpid", "os.getppid", True),
        ("import torch.nn.functional as F", "import torch.nn as F", True),
        ("side < 0", "side < 1", True),
    ],
)
def test_code_counts_and_its_explanation_does_not(
    old: str, new: str, changes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(tmp_path, monkeypatch)
    after = fingerprint(tmp_path, monkeypatch, changed=replaced(SOURCE, (old, new)))
    assert (before != after) == changes


@pytest.mark.parametrize(
    "files",
    [
        {"changed": SOURCE.replace("RATE", "SPEED")},
        {"changed": SOURCE.replace("Box", "Cube")},
        {"changed": SOURCE.replace("F.relu", "fn.relu").replace("as F", "as fn")},
        {"changed": SOURCE.replace("scale", "grow"), "helper": HELPER.replace("scale", "grow")},
        {"changed": SOURCE.replace("from helper", "from other"), "other": HELPER, "helper": ""},
        {"changed": SOURCE.replace("from helper import scale", "import helper").replace("scale(", "helper.scale(")},
        {"changed": SOURCE.replace("import scale", "import scale as s").replace("scale(", "s(")},
        {"changed": SOURCE.replace("from helper import scale\n", "").replace(
            "        return F.relu", "        from helper import scale\n        return F.relu")},
        {"changed": SOURCE.replace("from helper", "from between"), "between": "from helper import scale\n"},
        {"changed": replaced(SOURCE, ("RATE = 2  # a comment\n", "")) + "\nRATE = 2\n"},
        {"helper": HELPER.replace("return 1", "return 2")},
    ],
    ids=["constant", "class", "library", "function", "module", "by module", "alias", "local import", "re-export",
         "order", "not executed"],
)  # fmt: skip
def test_a_rename_a_move_or_an_edit_elsewhere_changes_nothing(
    files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fingerprint(tmp_path, monkeypatch, **files) == fingerprint(tmp_path, monkeypatch)


def test_an_edit_below_is_seen_from_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after = fingerprint(tmp_path, monkeypatch, helper=HELPER.replace("FACTOR = 5", "FACTOR = 6"))
    assert after != fingerprint(tmp_path, monkeypatch)


def test_a_package_of_the_users_own_needs_no_init_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = set()
    for number, helper in enumerate((HELPER, HELPER.replace("FACTOR = 5", "FACTOR = 6"))):
        folder = tmp_path / str(number)
        (folder / "bare").mkdir(parents=True)
        (folder / "bare" / "method.py").write_text("from bare.helper import scale\n\nrun = scale\n", encoding="utf-8")
        (folder / "bare" / "helper.py").write_text(helper, encoding="utf-8")
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(folder))
            forget()
            found.add(code_version.fingerprint(("bare.method:run",)))
    assert len(found) == 2


def test_two_definitions_that_change_places_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = "def a():\n    return 1\n\ndef b():\n    return 2\n\ndef double(x):\n    return a() - b()\n"
    other = one.replace("a() - b()", "b() - a()")
    assert fingerprint(tmp_path, monkeypatch, changed=one) != fingerprint(tmp_path, monkeypatch, changed=other)


def test_a_local_name_hides_a_definition_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = "def rows():\n    return 1\n\ndef double(rows):\n    return [rows for rows in rows]\n"
    other = one.replace("return 1", "return 2")
    assert fingerprint(tmp_path, monkeypatch, changed=one) == fingerprint(tmp_path, monkeypatch, changed=other)


def test_a_statement_with_an_effect_counts_where_anything_of_its_module_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    effect = "import os\nos.environ.setdefault('A', '1')\n" + HELPER
    found = {fingerprint(tmp_path, monkeypatch, helper=text) for text in (HELPER, effect, effect.replace("'1'", "'2'"))}
    assert len(found) == 3


def test_what_only_a_type_checker_reads_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = "import os\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import x\n"
    typed = SOURCE.replace("import os\n", checked)
    assert fingerprint(tmp_path, monkeypatch, changed=typed) == fingerprint(tmp_path, monkeypatch)


def test_an_unknown_module_or_name_is_an_error() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"no source file for module cl\.nothing"):
        code_version.fingerprint(("cl.nothing:run",))
    with pytest.raises(KeyError, match=r"cl\.steps\.train defines no walk"):
        code_version.fingerprint(("cl.steps.train:walk",))
