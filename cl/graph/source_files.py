"""Source files of `cl` and of the user, found and parsed without importing them.

A *definition* is a top-level function, class or assignment. `read` lists the definitions and imports of a module;
`resolve` follows a name through re-exports to the module that defines it.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

NEUTRAL = (
    "cl.construction",
    "cl.durable",
    "cl.errors",
    "cl.graph.roles",
    "cl.methods.strategy",
    "cl.metrics.records",
    "cl.own_code",
    "cl.plain_values",
    "cl.registry",
    "cl.signals",
    "cl.yaml_text",
)
"""Modules for lookup by name, checks, messages, signals and plain records. They decide whether there is a result; its
content depends on a node's specification alone."""

Place = tuple[str, str]
"""A definition as (module, name). The name BODY stands for top-level statements with other effects."""
BODY = ""


@dataclass(frozen=True)
class Module:
    """A source file.

    Args:
        name: dotted name.
        statements: top-level statements by the name that they define; BODY: all other statements.
        imports: origin of each imported name as (module, name); (module, None) for a module.
    """

    name: str
    statements: dict[str, list[ast.stmt]]
    imports: dict[str, tuple[str, str | None]]


def resolve(module: str, name: str) -> Place | None:
    """The definition of a name of one of our modules, found through re-exports. None: a library's or a neutral one."""
    found = read(module)
    if name in found.statements:
        return None if module in NEUTRAL else (module, name)
    if name not in found.imports:
        return None
    source, original = found.imports[name]
    return resolve(source, original) if original is not None and is_ours(source) else None


@cache
def read(module: str) -> Module:
    """Parse a module's source. Raises ModuleNotFoundError if there is no source file."""
    path = path_of(module)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    statements: dict[str, list[ast.stmt]] = {}
    imports: dict[str, tuple[str, str | None]] = {}
    for statement in _executed(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            imports |= imported(statement, package)
        elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            for name in _defined(statement) or [BODY]:
                statements.setdefault(name, []).append(statement)
        if isinstance(statement, ast.Try):  # an optional library
            for inner in ast.walk(statement):
                if isinstance(inner, ast.Import | ast.ImportFrom):
                    imports |= imported(inner, package)
    return Module(module, statements, imports)


def imported(statement: ast.Import | ast.ImportFrom, package: str) -> dict[str, tuple[str, str | None]]:
    """Origin of each name that an import statement binds: see `Module.imports`."""
    if isinstance(statement, ast.Import):
        return {a.asname or a.name.split(".")[0]: (a.name if a.asname else a.name.split(".")[0], None)
                for a in statement.names}  # fmt: skip
    above = package.split(".")[: len(package.split(".")) - statement.level + 1] if statement.level else []
    source = ".".join([*above, *([statement.module] if statement.module else [])])
    found: dict[str, tuple[str, str | None]] = {}
    for alias in statement.names:
        whole = f"{source}.{alias.name}"
        is_module = is_ours(source) and find(whole) is not None
        found[alias.asname or alias.name] = (whole, None) if is_module else (source, alias.name)
    return found


def path_of(module: str) -> Path:
    """Source file of a module. Raises ModuleNotFoundError if there is none."""
    found = find(module)
    if found is None:
        raise ModuleNotFoundError(f"no source file for module {module}")
    return found


@cache
def find(module: str) -> Path | None:
    """Source file of a module, found without importing its packages. None: there is no Python source."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    package = sys.modules.get(module.rpartition(".")[0])  # its path may have been extended
    if package is not None and hasattr(package, "__path__"):
        stems = [Path(folder, rest[-1]) for folder in package.__path__]
    else:
        stems = [Path(folder, *rest) for folder in spec.submodule_search_locations or []]
    files = [file for stem in stems for file in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py")]
    return next((file for file in files if file.is_file()), None)


@cache
def is_ours(module: str) -> bool:
    """Whether a module belongs to this project or to the user: no package manager has installed it."""
    top = module.split(".")[0]
    if top in ("cl", "strategies", "scenarios"):  # also in an installed release
        return True
    if top in sys.stdlib_module_names:
        return False
    file = find(top)
    places = _bare(top) if file is None else [file]
    return any(not {"site-packages", "dist-packages"} & set(place.parts) for place in places)


def _bare(top: str) -> list[Path]:
    """Folders of a package without `__init__.py`; empty for any other module."""
    spec = importlib.util.find_spec(top)
    return [] if spec is None or spec.origin else [Path(place) for place in spec.submodule_search_locations or []]


def _executed(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Top-level statements without the branches that only type checkers read."""
    for statement in statements:
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            yield from statement.orelse
        else:
            yield statement


def _defined(statement: ast.stmt) -> list[str]:
    """Names that a top-level statement defines; empty if the statement has other effects."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    if not isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        return []
    names = [n.id for target in targets if target for n in ast.walk(target) if isinstance(n, ast.Name)]
    plain = all(isinstance(target, ast.Name | ast.Tuple) for target in targets)
    return names if plain else []
