"""Which of our own source files a module executes, and their hash.

The hash is taken over syntax trees without docstrings, so that a comment or a docstring never trains a model
again, and over the transitive imports inside our packages, so that a change anywhere below does.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

PACKAGES = ("cl", "strategies", "scenarios")
# Look-up and messages: what they find is in a node's specification, so their code cannot change a result.
NEUTRAL = ("cl.catalog", "cl.errors", "cl.results")


def is_checkout() -> bool:
    """Whether `cl` is imported from a development checkout rather than from an installed release."""
    return (Path(__file__).parents[1] / "pyproject.toml").is_file()


@lru_cache
def fingerprint(modules: tuple[str, ...]) -> str:
    """Hash of the sources of `modules` and of all modules of ours that they import, directly or not."""
    total = hashlib.sha256()
    for name in sorted(closure(modules)):
        total.update(f"{name}:{_tree_hash(_path(name))}\n".encode())
    return total.hexdigest()[:16]


def closure(modules: tuple[str, ...]) -> set[str]:
    """Names of `modules` and of everything of ours that they import; lazy imports in functions count too."""
    seen: set[str] = set()
    todo = list(modules)
    while todo:
        name = todo.pop()
        if name not in seen and name not in NEUTRAL:
            seen.add(name)
            todo.extend(_imports(_path(name)))
    return seen


def _path(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no source file for module {module}")
    return Path(spec.origin)


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _is_ours(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module and _is_ours(node.module):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if importlib.util.find_spec(node.module) and _is_module(full) else node.module


def _is_ours(module: str) -> bool:
    return module.split(".")[0] in PACKAGES


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the parent is a module, so `name` is one of its attributes
        return False


def _tree_hash(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()
