"""Find definitions (YAML files) and classes by name.

`cl` never imports strategies and scenarios directly: this module finds them by name at run time. Definitions are
searched in the shipped folder `KIND/` next to `cl/`, and in `./KIND/` of the working directory.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from cl.errors import UserError

Definitions = Literal["strategies", "scenarios", "experiments"]
Classes = Literal["methods", "sources", "probes"]

TABLES: dict[Classes, tuple[str, str]] = {
    "methods": ("strategies", "METHODS"),
    "sources": ("scenarios", "SOURCES"),
    "probes": ("cl.probes.probe", "PROBES"),
}
"""For each kind of class, the module and the name of its table NAME -> "module:Class"."""


@dataclass(frozen=True)
class Named:
    """Name and settings of an object that is built from them: a method or a probe.

    Args:
        name: name in the table of its kind, or "package.module:Class".
        settings: all settings, defaults included.
    """

    name: str
    settings: dict[str, Any]


def names(kind: Definitions) -> list[str]:
    """Return the sorted names of all definitions of a kind."""
    return sorted({path.stem for path in _files(kind)})


def path_of(kind: Definitions, name: str) -> Path:
    """Return the YAML file of a definition.

    Args:
        kind: kind of the definition.
        name: name of the definition, or a path that ends in .yaml.

    Raises:
        UserError: for an unknown name, a missing file, and a name of two different files.
    """
    if name.endswith(".yaml"):
        if not Path(name).is_file():
            raise UserError(f"{kind}: there is no file {name!r}")
        return Path(name)
    found = [path for path in _files(kind) if path.stem == name]
    if not found:
        raise UserError(unknown(kind, name, names(kind)))
    if len(found) > 1:
        raise UserError(f"{kind}: {name!r} is both {found[0]} and {found[1]}; give the path of the one you mean")
    return found[0]


def read(kind: Definitions, name: str) -> dict[str, Any]:
    """Return a definition as a dict.

    Args:
        kind: kind of the definition.
        name: name of the definition, or a path that ends in .yaml.

    Raises:
        UserError: if `path_of` does, and for invalid YAML, with file and line.
    """
    path = path_of(kind, name)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path}, line {line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{path}: must hold `key: value` lines whose keys are text")
    return content


def members(package: str) -> tuple[str, ...]:
    """Return the sorted names of a package's modules, for packages with one member per module."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules(importlib.import_module(package).__path__)))


def member(package: str, name: str, attribute: str) -> Any:
    """Return an attribute of the module `package.name`."""
    return getattr(importlib.import_module(f"{package}.{name}"), attribute)


def imported(path: str, where: str) -> Any:
    """Import the object at "package.module:NAME"; modules of the working directory are found.

    Args:
        path: dotted path of the module, a colon, and the name of the object.
        where: place in the configuration, with which an error message begins.

    Raises:
        UserError: for a module that cannot be imported or lacks the name.
    """
    target, _, attribute = path.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # the path of an installed command lacks the user's modules
    try:
        return getattr(importlib.import_module(target), attribute)
    except ModuleNotFoundError as error:
        raise UserError(f"{where}: cannot import {path!r}: {error}") from error
    except AttributeError as error:
        raise UserError(f"{where}: module {target!r} has no {attribute!r}") from error


def unknown(what: str, name: object, known: Iterable[str]) -> str:
    """Return the message that `name` is unknown, with the closest known name and all known names.

    Args:
        what: subject of the message, such as a configuration key.
        name: unknown name.
        known: all known names.
    """
    known = sorted(known)
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{what}: {name!r} is unknown{hint} (known: {', '.join(known) or 'none'})"


def _files(kind: Definitions) -> list[Path]:
    """All YAML files of a kind; strategies are in one folder per family."""
    pattern = "**/*.yaml" if kind == "strategies" else "*.yaml"
    return sorted(path for folder in _folders(kind) for path in folder.glob(pattern))


def _folders(kind: Definitions) -> list[Path]:
    """The shipped folder and the folder of the working directory, if they exist and differ."""
    folders = [Path(__file__).resolve().parent.parent / kind, Path.cwd().resolve() / kind]
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]


def find(kind: Classes, name: str, where: str) -> type:
    """Return the class of a name.

    Args:
        kind: kind of the class.
        name: key of the kind's table, or "package.module:Class".
        where: place in the configuration, with which an error message begins.

    Raises:
        UserError: for an unknown name, and for an object that is not a class.
    """
    # Import all tables first: `imported` puts the working directory on the path, and a folder there may have the
    # name of one of our packages.
    known: dict[str, str] = {k: getattr(importlib.import_module(m), table) for k, (m, table) in TABLES.items()}[kind]
    if ":" not in name and name not in known:
        raise UserError(unknown(f"{where}: {kind}", name, [*known, "package.module:Class"]))
    found = imported(known.get(name, name), where)
    if not isinstance(found, type):
        raise UserError(f"{where}: {name!r} is not a class")
    return found


class _UniqueKeys(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice; YAML readers silently keep the last value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)
