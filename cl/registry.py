"""Find definitions (YAML files) and classes by name.

`cl` never imports strategies and scenarios directly: this module finds them by name at run time. Definitions are
searched in the shipped folder `KIND/` next to `cl/`, and in `./KIND/` of the working directory.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cl import own_code, yaml_text
from cl.errors import UserError
from cl.plain_values import require_path

Definitions = Literal["strategies", "scenarios", "experiments"]
Classes = Literal["methods", "sources", "probes"]

TABLES: dict[Classes, tuple[str, str]] = {
    "methods": ("strategies", "METHODS"),
    "sources": ("scenarios", "SOURCES"),
    "probes": ("cl.probes.probe", "PROBES"),
}
"""For each kind of class, the module and the name of its table NAME -> "module:Class"."""
BASES: dict[Classes, str] = {
    "methods": "cl.methods.method.Method",
    "sources": "cl.tasks.task.Source",
    "probes": "cl.probes.probe.Probe",
}
"""For each kind of class, what a class must be derived from; for sources, the protocol that it must have."""


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
    require_path(name, kind)
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
    content = yaml_text.read(path)
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{path}: must hold `key: value` lines whose keys are text")
    return content


def members(package: str) -> tuple[str, ...]:
    """Return the sorted names of a package's modules, for packages with one member per module."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules(importlib.import_module(package).__path__)))


def member(package: str, name: str, attribute: str, *default: Any) -> Any:
    """Return an attribute of the module `package.name`, or the default if one is given and the attribute is absent."""
    return getattr(importlib.import_module(f"{package}.{name}"), attribute, *default)


def imported(path: str, where: str) -> Any:
    """Import the object at "package.module:NAME" if its code may run (`cl.own_code`).

    Args:
        path: dotted path of the module, a colon, and the name of the object.
        where: place in the configuration, with which an error message begins.

    Raises:
        UserError: for code that may not run, and for a module that cannot be imported or lacks the name.
    """
    target, _, attribute = path.partition(":")
    own_code.check(path, where)
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
        name: key of the kind's table, name of an installed entry point, or "package.module:Class".
        where: place in the configuration, with which an error message begins.

    Raises:
        UserError: for an unknown name, for code that may not run, and for an object that is no class of the kind.
    """
    # Import all tables first: a folder on the import path may have the name of one of our packages.
    ours = {k: getattr(importlib.import_module(m), table) for k, (m, table) in TABLES.items()}[kind]
    known: dict[str, str] = own_code.entry_points(kind) | ours
    if ":" not in name and name not in known:
        raise UserError(unknown(f"{where}: {kind}", name, [*known, "package.module:Class"]))
    found = imported(known.get(name, name), where)
    if not isinstance(found, type):
        raise UserError(f"{where}: {name!r} is not a class")
    if not _is_a(found, _base(kind)):
        raise UserError(f"{where}: {name!r} is no class of {kind}: it lacks what {BASES[kind]} has")
    return found


def _base(kind: Classes) -> type:
    """The class or protocol of a kind."""
    module, _, name = BASES[kind].rpartition(".")
    found: type = getattr(importlib.import_module(module), name)
    return found


def _is_a(found: type, base: type) -> bool:
    """Whether a class is derived from a base, or has the methods of a protocol. Constructs nothing."""
    if not getattr(base, "_is_protocol", False):
        return issubclass(found, base)
    methods = [name for name, value in vars(base).items() if callable(value) and not name.startswith("_")]
    return all(callable(getattr(found, name, None)) for name in methods)
