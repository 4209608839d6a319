"""Which source files of ours and of the user's a module executes, and their hash.

Ours is what no package manager installed: this checkout and the user's own modules. The hash is taken over
syntax trees without comments and docstrings, so that explaining code never trains a model again, and over the
imports of all our modules, direct or not, so that a change anywhere below does. Modules are found by their
path: none is imported to be hashed. What it cannot see: imports by a computed name, and data files.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

PACKAGES = ("cl", "strategies", "scenarios")
# Look-up and messages: what they find is in a node's specification, so their code cannot change a result.
NEUTRAL = ("cl.registry", "cl.errors", "cl.metrics.records")


def is_checkout() -> bool:
    """Whether `cl` is imported from a development checkout rather than from an installed release."""
    return (Path(__file__).parents[2] / "pyproject.toml").is_file()


def fingerprint(modules: Iterable[str]) -> str:
    """Hash of the sources of `modules` and of all modules of ours that they import, directly or not."""
    total = hashlib.sha256()
    for name in sorted(closure(modules)):
        total.update(f"{name}:{_read(path_of(name), name)[0]}\n".encode())
    return total.hexdigest()[:16]


def closure(modules: Iterable[str]) -> set[str]:
    """Names of `modules` and of everything of ours that they import; lazy imports in functions count too."""
    seen: set[str] = set()
    todo = list(modules)
    asked = {name.split(".")[0] for name in todo}
    while todo:
        name = todo.pop()
        if name not in seen and name not in NEUTRAL:
            seen.add(name)
            todo += [other for other in _read(path_of(name), name)[1] if _is_ours(other, asked)]
    return seen


def path_of(module: str) -> Path:
    """Source file of a module. Raises ModuleNotFoundError where there is none."""
    found = _find(module)
    if found is None:
        raise ModuleNotFoundError(f"no source file for module {module}")
    return found


@lru_cache
def _find(module: str) -> Path | None:
    """Source file of a module, found without importing its packages; None for what is no Python module."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    stems = [Path(folder, *rest) for folder in spec.submodule_search_locations or []]
    files = [file for stem in stems for file in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py")]
    return next((file for file in files if file.is_file()), None)


def _is_ours(module: str, asked: set[str]) -> bool:
    """Whether a module belongs to a package that was asked for, or was installed by nobody."""
    top = module.split(".")[0]
    if top in asked:
        return True
    file = None if top in sys.stdlib_module_names else _find(module)
    return file is not None and not {"site-packages", "dist-packages"} & set(file.parts)


@lru_cache
def _read(path: Path, module: str) -> tuple[str, tuple[str, ...]]:
    """Hash of a source file without comments and docstrings, and the modules that it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    imports = tuple(dict.fromkeys(_imports(tree, package)))
    return hashlib.sha256(ast.unparse(_Bare().visit(tree)).encode()).hexdigest(), imports


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                name = f"{source}.{alias.name}"
                yield name if _is_module(name) else source


def _is_module(name: str) -> bool:
    """Whether `from package import name` names a module; anything installed is as good as its package."""
    return name.split(".")[0] not in sys.stdlib_module_names and _find(name) is not None


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a syntax tree except what only a type checker reads."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
        else:
            todo += ast.iter_child_nodes(node)


class _Bare(ast.NodeTransformer):
    """Drops statements that are a constant and nothing else: docstrings and `...`."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) else node
