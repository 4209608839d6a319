"""Build objects from the settings of a configuration file, with names and types checked."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, get_args

from cl.errors import UserError
from cl.plain_values import require_plain
from cl.registry import Classes, find, unknown

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

UNREADABLE = (ValueError, ArithmeticError, TypeError, LookupError, AttributeError)
"""What jsonargparse lets pass where it reads text as YAML, such as '!!int abc' for a number."""


def build(kind: Classes, name: str, settings: Mapping[str, Any], where: str, **offers: Any) -> Any:
    """Construct the class that `name` stands for from its settings.

    Args:
        kind: methods, sources or probes.
        name: a key of the kind's table, or the dotted path "package.module:Class" of a class of the user's own.
        settings: arguments of the constructor.
        where: the place in the configuration that errors name, e.g. "tasks.german.sources[0]".
        offers: values for parameters that `settings` does not give; unknown ones are left out.

    Raises:
        UserError: for an unknown name, and for an unknown, missing or mistyped setting.
    """
    return construct(find(kind, name, where), name, settings, where, **offers)


def construct(cls: type, name: str, settings: Mapping[str, Any], where: str, **offers: Any) -> Any:
    """Construct a class from its settings; arguments and errors as in `build`."""
    from jsonargparse import ArgumentError

    hints = hints_of(cls)
    for key in settings:
        if key not in hints:
            raise UserError(unknown(f"{where}: setting of {name}", key, hints))
    require_plain(settings, where)
    given = {key: value for key, value in offers.items() if key in hints} | dict(settings)
    for key, value in given.items():
        if value is None and hints[key] is not Any and type(None) not in get_args(hints[key]):
            raise UserError(f"{where}: {key}: is empty; give a value or leave the setting out")
    try:
        values = _parser(cls).parse_object(given).as_dict()
    except (ArgumentError, *UNREADABLE) as error:
        raise UserError(f"{where}: {_explain(hints, given, str(error))}") from error
    require_plain({key: values[key] for key in settings}, where)  # the text `nan` has become a number
    try:
        return cls(**values)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    except OSError as error:  # of a path
        raise UserError(f"{where}: {error.filename or name!r}: {error.strerror or error}; correct the path") from error


def settings_of(built: Any) -> dict[str, Any]:
    """The settings of an object that is a dataclass: the fields of its constructor, defaults included."""
    return {each.name: getattr(built, each.name) for each in dataclasses.fields(built) if each.init}


def shows_settings(cls: type) -> bool:
    """Whether a class is a dataclass whose fields are the parameters of its constructor, so that none is hidden."""
    if not dataclasses.is_dataclass(cls):
        return False
    return {each.name for each in dataclasses.fields(cls) if each.init} == set(inspect.signature(cls).parameters)


@cache
def hints_of(cls: type) -> dict[str, Any]:
    """The type of each parameter of a constructor; Any where it has none.

    Only the parameters' own annotations are evaluated: others may name what is imported for type checkers alone.
    """
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        annotation = parameter.annotation
        if annotation is inspect.Parameter.empty:
            found[name] = Any
        elif isinstance(annotation, str):
            found[name] = eval(annotation, dict(_namespace(cls, name)))  # the source of an imported class, no input
        else:
            found[name] = annotation
    return found


def _namespace(cls: type, name: str) -> Mapping[str, Any]:
    """Names that an annotation of a constructor's parameter can use."""
    if dataclasses.is_dataclass(cls):
        owner = next((k for k in cls.__mro__ if name in inspect.get_annotations(k)), cls)
        return vars(sys.modules[owner.__module__])
    globals_of: Mapping[str, Any] = getattr(cls.__init__, "__globals__", {})  # type: ignore[misc]  # this very class's
    return globals_of


@cache
def _parser(cls: type) -> ArgumentParser:
    """A parser of the constructor's parameters.

    jsonargparse's own `add_class_arguments` would import everything that the class's module imports for type checkers.
    """
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    for name, parameter in inspect.signature(cls).parameters.items():
        required = parameter.default is inspect.Parameter.empty
        more: dict[str, Any] = {"required": True} if required else {"default": _default(cls, name, parameter)}
        parser.add_argument(f"--{name}", type=hints_of(cls)[name], **more)
    return parser


def _default(cls: type, name: str, parameter: inspect.Parameter) -> Any:
    """The default of a parameter, made by its factory where a dataclass has one."""
    field = {each.name: each for each in dataclasses.fields(cls)}.get(name) if dataclasses.is_dataclass(cls) else None
    factory = dataclasses.MISSING if field is None else field.default_factory
    return parameter.default if factory is dataclasses.MISSING else factory()


def _explain(hints: Mapping[str, Any], given: Mapping[str, Any], message: str) -> str:
    """Turn jsonargparse's message of several lines into one that names the setting, its value and its type."""
    if missing := re.search(r"arguments? (?:are )?required: ([\w, ]+)|[Kk]ey \"(\w+)\" is required", message):
        return f"{missing[1] or missing[2]}: is missing; give a value"
    match = re.search(r'key "(\w+)', message)
    if match is None or match[1] not in given:
        return " ".join(message.split())
    key, hint = match[1], hints[match[1]]
    wanted = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
    return f"{key}: {given[key]!r} is not of type {wanted}"
