"""Compute a promote node: all files of the state, or of the memory, that a gate decided for.

So what is not accepted leaves no trace: weights, adapters, classifier, the optimizer's state, the states of methods and
the ledger are those of the incumbent, bit for bit. Schedules and random generators need no restoration: both are
functions of the run's seed, the stage and the step.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from cl.graph.measurement_specs import PromoteSpec
from cl.graph.roles import CANDIDATE, GATE, INCUMBENT, Inputs
from cl.graph.stored import result_of
from cl.steps.context import Context
from cl.steps.gate import promoted_key


def run(spec: PromoteSpec, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Store the artifacts that the gate decided for.

    Returns:
        The decision, the key of the node whose artifacts these are, and its ledger, if it has one.
    """
    decision = result_of(inputs[GATE])["decision"]
    chosen = inputs[CANDIDATE if decision == "accept" else INCUMBENT]
    _link(chosen, context.out)
    ledger = {key: value for key, value in result_of(chosen).items() if key == "ledger"}
    return {"decision": decision, "promoted": promoted_key(chosen), **ledger}


def _link(source: Path, target: Path) -> None:
    """Copy the artifacts of a stored node, by hard links if the disk supports them; a stored file never changes."""
    for path in sorted(source.rglob("*")):
        if path.is_file() and path != source / "node.json":
            new = target / path.relative_to(source)
            new.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, new)
            except OSError:
                shutil.copy(path, new)
