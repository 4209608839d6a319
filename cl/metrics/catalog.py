"""Look-up of metrics by key.

The metrics of this package are all `Formula` objects in the files of `cl.metrics.formulas`; no table lists them. A
metric outside this package has the key `package.module:NAME`, where NAME is a `Formula`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from cl import registry
from cl.errors import UserError
from cl.metrics import formulas
from cl.metrics.formula import Formula, Metric


@cache
def declared() -> tuple[Formula, ...]:
    """All metrics of this package: files by name, metrics in the order of their file.

    Raises:
        UserError: two metrics have the same key.
    """
    found: dict[str, Formula] = {}
    for name in registry.members(formulas.__name__):
        module = importlib.import_module(f"{formulas.__name__}.{name}")
        for each in vars(module).values():
            if isinstance(each, Formula) and found.setdefault(each.key, each) is not each:
                raise UserError(f"metric {each.key!r}: is declared twice, the second time in {module.__file__}")
    return tuple(found.values())


def find(key: str) -> Formula:
    """The metric of a key; `op_t/3` is found in its family `op_t/{t}`.

    Args:
        key: key of a metric of this package, or `package.module:NAME`.

    Raises:
        UserError: no metric has this key, or NAME is no `Formula` of a single metric.
    """
    if ":" in key:
        return _imported(key)
    matching = (each.matching(key) for each in declared())
    found = next((each for each in matching if each is not None), None)
    if found is None:
        raise UserError(registry.unknown("metric", key, [*(each.key for each in declared()), "package.module:NAME"]))
    return found


def evaluate(inputs: Mapping[str, Any], keys: Iterable[str] = ()) -> dict[str, Metric]:
    """Values of all metrics whose inputs are given, by key.

    Args:
        inputs: by name (`cl.metrics.formula.Input`), result matrices or curves.
        keys: keys that are asked for; only a `package.module:NAME` adds a metric to those of this package.
    """
    found = [*declared(), *(find(key) for key in keys if ":" in key)]
    given = [(each, [inputs[name] for name in each.inputs]) for each in found if {*each.inputs} <= {*inputs}]
    return {member.key: member.evaluate(*args) for each, args in given for member in each.members(*args)}


def _imported(key: str) -> Formula:
    found = registry.imported(key, "metric")
    if not isinstance(found, Formula) or found.numbers is not None:
        raise UserError(f"metric {key!r}: is not a single `cl.metrics.formula.Formula`; use the decorator `formula`")
    return replace(found, key=key)
