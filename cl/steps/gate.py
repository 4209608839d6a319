"""Compute a gate node: whether the end state of a stage is promoted, by paired differences on validation data.

Measurements on test data are refused, because a choice by test data would bias the final result.
"""

from __future__ import annotations

import dataclasses
import json
import statistics as plain
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cl.errors import UserError
from cl.graph.measurement_specs import GateSpec
from cl.graph.roles import CANDIDATE, INCUMBENT, Inputs, Role
from cl.graph.stored import identity_of, result_of
from cl.hashing import digest
from cl.methods import strategy
from cl.methods.gates import Gates
from cl.metrics import statistics
from cl.metrics.certificate import FEWEST, Certificate, Change
from cl.steps.context import Context


def run(spec: GateSpec, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Compare the candidate with the incumbent by item, and let the method decide.

    An earlier task that was not taken, and so is not in the incumbent's ledger, need not be retained.

    Returns:
        Fields of `cl.metrics.certificate.Certificate`.

    Raises:
        UserError: for measurements of test data, and for a set with less than FEWEST items.
    """
    method = strategy.build_method(spec.method, f"gate of {spec.task}")
    assert isinstance(method, Gates)
    learned = json.loads(result_of(inputs[INCUMBENT]).get("ledger", "{}"))
    retained = [*(task for task in spec.earlier if task in learned), *spec.retained]
    candidate, incumbent = (_items(inputs[Role(role.kind, name="items")]) for role in (CANDIDATE, INCUMBENT))
    sign = -1 if method.metric == "loss" else 1
    changes = {
        name: change(name, [sign * (a - b) for a, b in zip(candidate[name], incumbent[name], strict=True)], method)
        for name in (spec.task, *retained)
    }
    gain = changes.pop(spec.task)
    decided = Certificate(
        t=spec.t,
        target=spec.task,
        window={"split": "validation", "items": {spec.task: gain.items} | {n: c.items for n, c in changes.items()}},
        method={spec.method.name: spec.method.settings},
        verification=gain,
        regression=changes,
        decision=method.decide(gain, changes),
        rollback_point=promoted_key(inputs[INCUMBENT]),
        audit=_audit(inputs),
    )
    return dataclasses.asdict(decided)


def change(name: str, differences: Sequence[float], method: Gates) -> Change:
    """Mean of paired differences with its percentile bootstrap interval (10,000 samples, seed 0).

    Args:
        name: name of the set.
        differences: by item; positive is better.
        method: the gating method, which states the level.

    Raises:
        UserError: for less than FEWEST items.
    """
    if len(differences) < FEWEST:
        raise UserError(
            f"promotion: {name} has {len(differences)} validation items and an interval needs {FEWEST}; give more "
            "text or examples, a larger evaluation.tokens (or items for a score), or a smaller train.sequence"
        )
    low, high = statistics.interval(differences, method.interval)
    return Change(plain.fmean(differences), low, high, len(differences))


def _items(folder: Path) -> Mapping[str, Sequence[float]]:
    """Values by set and item of an itemwise node."""
    if identity_of(folder)["spec"]["split"] != "validation":
        raise UserError("promotion: the items are of test data, by which nothing may be decided; measure on validation")
    found: dict[str, list[float]] = result_of(folder)["items"]
    return found


def promoted_key(folder: Path) -> str:
    """Key of the node that made a state: of the stored state itself, or of the one that was promoted."""
    return str(result_of(folder).get("promoted") or digest(identity_of(folder)))


def _audit(inputs: Inputs) -> dict[str, Any]:
    """Keys of what was compared; code and libraries of the measurement."""
    measured = identity_of(inputs[Role(CANDIDATE.kind, name="items")])
    keys = {str(role): digest(identity_of(folder)) for role, folder in inputs.items() if role != INCUMBENT}
    return {**keys, "libraries": measured["libraries"], "code": measured["code"]}
