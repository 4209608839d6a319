"""Compute a gate node: keep the candidate state if it scores better than the incumbent, otherwise the incumbent.

The scores come from two evaluate nodes on validation data. Scores on test data are refused, because a choice by test
data would bias the final result.
"""

from __future__ import annotations

import os
import shutil
import statistics
from pathlib import Path
from typing import Any

from cl.errors import UserError
from cl.graph.roles import Inputs, Role
from cl.graph.specs import GateSpec
from cl.graph.stored import identity_of, result_of
from cl.metrics.records import Cell
from cl.steps.context import Context

CANDIDATE, INCUMBENT = Role("candidate"), Role("incumbent")
"""Roles of the two states. Their evaluate nodes have the same roles with the name `scores`."""
SCORES = "scores"


def run(spec: GateSpec, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Store the better of two states.

    Returns:
        Result of the chosen state, with its role under `chosen` and the mean score of both states under `means`.

    Raises:
        UserError: if a score was measured on test data, or a set does not have the score.
    """
    candidate, incumbent = (_mean(spec, inputs[Role(role.kind, name=SCORES)]) for role in (CANDIDATE, INCUMBENT))
    gain = incumbent - candidate if spec.metric == "loss" else candidate - incumbent
    role = CANDIDATE if gain > spec.margin else INCUMBENT
    _link(inputs[role], context.out)
    means = {"candidate": candidate, "incumbent": incumbent}
    return result_of(inputs[role]) | {"chosen": role.kind, "means": means}


def _mean(spec: GateSpec, folder: Path) -> float:
    """Mean score of an evaluate node over the deciding sets."""
    if identity_of(folder)["spec"]["split"] != "validation":
        raise UserError("gate: the scores are of test data, by which nothing may be chosen; measure on validation data")
    cells = {name: Cell(**cell) for name, cell in result_of(folder)["cells"].items()}
    found = [_score(spec.metric, cells, name) for name in spec.sets]
    return statistics.fmean(found)


def _score(metric: str, cells: dict[str, Cell], name: str) -> float:
    """Score of one set. Raises UserError if the set does not have it."""
    scores = {"loss": cells[name].loss} | cells[name].scores if name in cells else {}
    if metric not in scores:
        raise UserError(f"gate: {name} has no score {metric!r}; it has {', '.join(scores) or 'none'}")
    return scores[metric]


def _link(source: Path, target: Path) -> None:
    """Copy the artifacts of a stored state, by hard links if the disk supports them."""
    for path in sorted(source.rglob("*")):
        if path.is_file() and path.name != "node.json":
            new = target / path.relative_to(source)
            new.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, new)
            except OSError:
                shutil.copy(path, new)
