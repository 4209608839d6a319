"""Read an experiment from YAML and the command line, with every value checked."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from cl import registry, yaml_text
from cl.config import search_ranges
from cl.config.experiment import Experiment
from cl.config.nested import flat, put
from cl.config.search_ranges import Range
from cl.construction import UNREADABLE
from cl.errors import UserError
from cl.plain_values import require_path, require_plain

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def load(name: str, overrides: list[str] | None = None) -> Experiment:
    """Read an experiment by name or path and apply `--key=value` overrides.

    `--strategy.METHOD.SETTING=V` changes every strategy that has the method; `--strategies.LABEL.…` one strategy.

    Raises:
        UserError: for an unknown key and for a value of the wrong type.
    """
    return parse(read(name, overrides)[0])


def read(name: str, overrides: list[str] | None = None) -> tuple[dict[str, Any], dict[str, Range]]:
    """Return an experiment as plain data, and its search ranges by dotted key; arguments as in `load`."""
    raw = registry.read("experiments", name)
    raw.setdefault("name", Path(name).stem)
    folder = registry.path_of("experiments", name).parent
    for holder in (raw, raw.get("tune")):
        named = holder.get("scenario") if isinstance(holder, dict) else None
        if isinstance(holder, dict) and isinstance(named, str) and named.endswith(".yaml"):
            require_path(named, "scenario")
            holder["scenario"] = str(folder / named) if (folder / named).is_file() else named  # relative to the file
    keys = [_apply(raw, override) for override in overrides or []]
    if isinstance(raw.get("tuned"), str):
        raw["tuned"] = _tuned(raw["tuned"], keys)
    require_plain(raw, "")
    return search_ranges.extract(raw)


def _tuned(path: str, given: list[str]) -> Any:
    """Read a tuned.yaml; refuse another file, and chosen values that are also set on the command line (`given`)."""
    require_path(path, "tuned")
    try:
        found = yaml_text.read(Path(path))
    except UserError as error:
        raise UserError(f"tuned: {error}; `cl tune` writes one") from error
    if not isinstance(found, dict) or not found.get("values") or not _is_nested(found["values"], 3):
        raise UserError(f"tuned: {path!r} holds no values; `cl tune` writes a tuned.yaml")
    chosen = {key for orders in found["values"].values() for values in orders.values() for key in _keys(values)}
    if both := sorted(chosen & set(given)):
        raise UserError(f"--{both[0]}: is also set by tuned: {path}, which would override it; remove one of the two")
    return found


def _is_nested(found: Any, levels: int) -> bool:
    """Whether data are mappings in so many levels of mappings, with text as keys."""
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        return False
    if levels > 1:
        return all(_is_nested(each, levels - 1) for each in found.values())
    return "by_task" not in found or _is_nested(found["by_task"], 2)


def _keys(values: Mapping[str, Any]) -> set[str]:
    """Dotted keys of chosen values, values for single tasks included."""
    alone = {key for own in values.get("by_task", {}).values() for key in flat(own)}
    return (values.keys() - {"by_task"}) | alone


def replaced(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """Return the experiment with other values at some dotted keys.

    Args:
        experiment: experiment to change.
        values: new values by dotted key.

    Raises:
        UserError: for an unknown key and for a value of the wrong type.
    """
    raw = dataclasses.asdict(experiment)
    for key, value in values.items():
        put(raw, key, value)
    return parse(raw)


def parse(raw: dict[str, Any]) -> Experiment:
    """Build an experiment from plain data and check keys and types.

    Raises:
        UserError: for an unknown key and for a value of the wrong type, in one line.
    """
    from jsonargparse import ArgumentError

    require_plain(raw, "")
    _check_keys(raw, Experiment, "")
    try:
        parsed = _parser().parse_object(raw)
    except (ArgumentError, *UNREADABLE) as error:
        raise UserError(_explain(raw, str(error))) from error
    require_plain(parsed.as_dict(), "")  # the text `.nan` has become a number where a number is wanted
    try:
        values = _parser().instantiate(parsed).as_dict()
    except ArgumentError as error:
        raise UserError(_explain(raw, str(error))) from error
    found = Experiment(**values)
    _check_folders(found)
    return found


def _check_folders(experiment: Experiment) -> None:
    """Check that the folders of results and of the store can be folders.

    Raises:
        UserError: where a file is in the way, and for a URL in place of the folder of results.
    """
    if "://" in experiment.output:
        raise UserError(f"output: {experiment.output!r} is a URL; name a folder of this machine")
    for key, path in (("output", f"{experiment.output}/{experiment.name}"), ("store", experiment.store)):
        for folder in (Path(path), *Path(path).parents) if "://" not in path else ():
            if os.path.exists(folder) and not os.path.isdir(folder):  # which do not raise where reading is forbidden
                raise UserError(f"{key}: {str(folder)!r} is a file; name a folder")


@cache
def _parser() -> ArgumentParser:
    """Parser of an experiment; building it takes longer than parsing, and a study parses an experiment per trial."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Experiment)
    return parser


MOVED = {"evaluation.probing": "is a probe of its own now; write `probes: {linear: }` at the top of the experiment"}
"""Settings of earlier versions, with the setting that replaced each."""


@dataclass(frozen=True)
class Setting:
    """One setting of an experiment.

    Args:
        key: dotted key.
        type: type in words.
        default: default as text; None if the setting is required.
        about: description, from the docstring of the settings class.
    """

    key: str
    type: str
    default: str | None
    about: str


def settings(group: type = Experiment, prefix: str = "") -> list[Setting]:
    """List all settings of an experiment, read from the fields and docstrings of the settings classes.

    Args:
        group: settings class.
        prefix: dotted key of the group, with a final dot.
    """
    from docstring_parser import parse as parse_docstring

    types = get_type_hints(group)
    about = {entry.arg_name: entry.description or "" for entry in parse_docstring(group.__doc__ or "").params}
    found = []
    for each in dataclasses.fields(group):
        wanted = types[each.name]
        if isinstance(wanted, type) and dataclasses.is_dataclass(wanted):
            found += settings(wanted, f"{prefix}{each.name}.")
            continue
        default = each.default_factory() if callable(each.default_factory) else each.default
        text = None if default is dataclasses.MISSING else "not set" if default is None else str(default)
        found.append(Setting(prefix + each.name, _words(wanted), text, " ".join(about[each.name].split())))
    return found


def _words(hint: Any) -> str:
    """Describe a type in words: `int or none`, `list of str`, `auto or fp32 or bf16`."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType, Literal):
        return " or ".join(str(part) if origin is Literal else _words(part) for part in parts)
    if origin in (list, tuple):
        return f"list of {', '.join(map(_words, parts))}"
    return {NoneType: "none", dict: "mapping"}.get(origin or hint) or str(hint.__name__)


def _check_keys(raw: Mapping[str, Any], group: type, prefix: str) -> None:
    types = get_type_hints(group)
    for key, value in raw.items():
        if key not in types:
            name = _first_leaf(f"{prefix}{key}", value)
            if name in MOVED:
                raise UserError(f"{name}: {MOVED[name]}")
            known = [setting.key for setting in settings()]
            close = [k for k in known if k.endswith(f".{name}")] or difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise UserError(f"{name}: an experiment has no such setting{hint} (`cl run --help` lists all)")
        if value is None and NoneType not in get_args(types[key]):  # jsonargparse accepts None for every type
            raise UserError(f"{prefix}{key}: is empty; give a value or remove the key")
        if dataclasses.is_dataclass(types[key]):
            if not isinstance(value, dict):
                raise UserError(f"{prefix}{key}: must hold settings as `key: value`, not {value!r}")
            _check_keys(value, types[key], f"{prefix}{key}.")


def _first_leaf(name: str, value: Any) -> str:
    while isinstance(value, dict) and value:
        key, value = next(iter(value.items()))
        name = f"{name}.{key}"
    return name


def _explain(raw: Mapping[str, Any], message: str) -> str:
    """Turn jsonargparse's message of several lines into one line that names the setting, its value and its type."""
    if missing := re.search(r"arguments are required: ([\w.]+)", message):
        return f"{missing[1]}: is missing; every experiment states it"
    known = {setting.key: setting for setting in settings()}
    match = re.search(r'key "([\w.]+)', message)
    if match is None or match[1] not in known:
        return f"experiment: {' '.join(message.split())}"
    value: Any = raw
    for key in match[1].split("."):
        value = value[key]
    return f"{match[1]}: {value!r} is not of type {known[match[1]].type}"


def _apply(raw: dict[str, Any], override: str) -> str:
    """Set one `--key.sub=value` in nested plain data, and return its key."""
    match = re.fullmatch(r"--([\w.\-]+)=(.*)", override, re.DOTALL)
    if match is None:
        raise UserError(f"{override}: not understood; settings are given as --key=value, with the equals sign")
    put(raw, match[1], _value(match[2], match[1]))
    return match[1]


def _value(text: str, key: str) -> Any:
    """Parse a command-line value as YAML, but read 1e-3 and 2e6 as numbers, which YAML 1.1 takes for text."""
    if re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", text):
        number = float(text)
        return int(number) if number.is_integer() and abs(number) < yaml_text.LARGEST_WHOLE else number
    return yaml_text.value(text, f"--{key}")
