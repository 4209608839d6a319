"""The JSON form of specifications, which enters keys and travels to other processes.

A field that is absent (None, false or empty) by default is left out while it is absent, so that a new field of that
sort changes no key.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from cl.config.train import Optimization
from cl.graph.specs import Compute, Packing

T = TypeVar("T")

SHARED = (Optimization, Packing, Compute)
"""Parts that are equal in most specifications of an experiment."""
FIELDS: dict[type, tuple[tuple[str, Any], ...]] = {}


def to_json(spec: Any) -> dict[str, Any]:
    """The JSON form of a dataclass, without fields that are absent by default.

    Any other default stays: if it changed, two specifications with different values would have one form.
    """
    return {
        name: _plain(value)
        for name, default in _fields(type(spec))
        if (value := getattr(spec, name)) or value != default
    }


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, SHARED):
        return _shared(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else to_json(value)


@cache
def _shared(value: Any) -> dict[str, Any]:
    """The JSON form of an object that many specifications share."""
    return to_json(value)


def _fields(cls: type) -> tuple[tuple[str, Any], ...]:
    """Names and defaults of a dataclass's fields, remembered."""
    if cls not in FIELDS:
        FIELDS[cls] = tuple(
            (each.name, each.default_factory() if callable(each.default_factory) else each.default)
            for each in dataclasses.fields(cls)
        )
    return FIELDS[cls]


def from_json(cls: type[T], raw: Mapping[str, Any]) -> T:
    """Inverse of `to_json`. Raises TypeError for a field that is missing or unknown."""
    hints = get_type_hints(cls)
    return cls(**{key: _parsed(hints.get(key), value) for key, value in raw.items()})


def _parsed(hint: Any, value: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        hint = next((part for part in get_args(hint) if part is not types.NoneType), hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, Mapping):
        return from_json(hint, value)
    if get_origin(hint) is tuple and isinstance(value, list):
        return tuple(_parsed(get_args(hint)[0], each) for each in value)
    return value
