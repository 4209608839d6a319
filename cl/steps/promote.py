"""Compute a promote node: all files of the state, or of the memory, that a gate decided for.

So what is not accepted leaves no trace: weights, adapters, classifier, the optimizer's state, the states of methods and
the ledger are those of the incumbent, bit for bit. Schedules and random generators need no restoration: both are
functions of the run's seed, the stage and the step.
"""

from __future__ import annotations

import shutil
from typing import Any

from cl import durable
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
    without = shutil.ignore_patterns("node.json")
    shutil.copytree(chosen, context.out, copy_function=durable.link, ignore=without, dirs_exist_ok=True)
    ledger = {key: value for key, value in result_of(chosen).items() if key == "ledger"}
    return {"decision": decision, "promoted": promoted_key(chosen), **ledger}
