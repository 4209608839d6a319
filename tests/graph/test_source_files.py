"""Source files: found without an import, parsed into definitions and imports, and names followed to their origin."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from cl.graph.source_files import BODY, find, imported, is_ours, path_of, read, resolve


def test_a_module_is_found_without_importing_it() -> None:
    assert find("cl.steps.merge") == Path(__file__).parents[2] / "cl" / "steps" / "merge.py"
    assert find("cl.steps.nothing") is None
    assert find("json.decoder") == Path(sys.modules["json"].__file__ or "").parent / "decoder.py"
    with pytest.raises(ModuleNotFoundError, match=r"no source file for module cl\.nothing"):
        path_of("cl.nothing")


def test_libraries_are_not_ours() -> None:
    assert [is_ours(name) for name in ("cl.graph.node", "strategies", "torch.nn", "json")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("import os.path", {"os": ("os", None)}),
        ("import os.path as p", {"p": ("os.path", None)}),
        ("from cl import hashing", {"hashing": ("cl.hashing", None)}),
        ("from cl.hashing import digest as d", {"d": ("cl.hashing", "digest")}),
        ("from .. import hashing", {"hashing": ("cl.hashing", None)}),
        ("from .node import Node", {"Node": ("cl.graph.node", "Node")}),
    ],
)
def test_imports_by_hand(statement: str, expected: dict[str, tuple[str, str | None]]) -> None:
    (parsed,) = ast.parse(statement).body
    assert isinstance(parsed, ast.Import | ast.ImportFrom)
    assert imported(parsed, "cl.graph") == expected


def test_statements_stand_by_the_names_that_they_define() -> None:
    found = read("cl.execution.launchers.ray")
    assert {"Ray", "execute", "PATIENCE"} <= set(found.statements)
    assert any("setdefault" in ast.unparse(statement) for statement in found.statements[BODY])
    assert found.imports["Queue"] == ("ray.util.queue", "Queue")  # in a `try`: an optional library


def test_a_name_is_followed_through_re_exports() -> None:
    assert resolve("cl.graph.planner", "StagePlan") == ("cl.graph.run_plan", "StagePlan")
    assert resolve("cl.graph.planner", "dataclass") is None  # of a library
    assert resolve("cl.graph.planner", "UserError") is None  # neutral
