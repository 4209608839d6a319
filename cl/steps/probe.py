"""Compute a probe node: the measures of a probe on the state of one row of R."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any

from cl.graph.measurement_specs import ProbeSpec
from cl.graph.roles import BASE, STATE, TOKENIZER, Inputs, Role
from cl.graph.specs import row_length
from cl.graph.stored import MANIFEST
from cl.models.forward import TokenLoss, autocast
from cl.probes import probe
from cl.probes.probe import Data, State
from cl.steps.context import Context
from cl.training.validation import opened


def run(spec: ProbeSpec, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Measure a state with a probe.

    With `spec.select`, the probe measures once per adapter, and a set gets the measures of its own adapter. Without,
    measures of parts of sets are kept, under their own names.

    Returns:
        {"measures": {set: {key of a measure: value}}}.
    """
    _, measuring = probe.build(spec.probe.name, spec.probe.settings)
    folders = {name: path for name, path in inputs.datasets().items() if name in spec.sets}
    lengths = {name: row_length(spec.packing, name) for name in spec.sets}
    data = Data({name: folders[name] for name in spec.sets}, spec.packing.sequence, spec.split, lengths)
    base = _base(spec, inputs) if measuring.needs_base else None
    found: dict[str, dict[str, float]] = {}
    for loss, own in opened(spec, inputs):
        context.watcher.progress(len(found), len(spec.sets))
        state = _state(spec, inputs, loss, base)
        with autocast(spec.compute.device, spec.compute.precision):
            measured = measuring.measure(state, data)
        parts = measured.keys() - spec.sets if spec.select is None else set[str]()
        found |= {name: values for name, values in measured.items() if name in own or name in parts}
    sets = [name for name in spec.sets if name in found]
    return {"measures": {name: found[name] for name in dict.fromkeys([*sets, *found])}}


def _base(spec: ProbeSpec, inputs: Inputs) -> TokenLoss:
    """The base model of the run, opened as a state is, so that the base compared with itself gives the same bits."""
    asked = replace(spec, select=None, step=None)
    ((loss, _),) = opened(asked, Inputs({**inputs, STATE: inputs[BASE]}))
    return loss


def _state(spec: ProbeSpec, inputs: Inputs, loss: TokenLoss, base: TokenLoss | None) -> State:
    """The state that is probed, with the states of earlier rows and the notes on stages that the probe may read."""

    def earlier(role: Role) -> State:
        """Open the state of an earlier row of R."""
        asked = replace(spec, step=None)
        reread, _ = next(opened(asked, Inputs({**inputs, STATE: inputs[role]})))
        return State(reread, inputs[TOKENIZER], spec.compute.device, spec.batch)

    references = {
        role.place: partial(earlier, role) for role in inputs if role.kind == "reference" and role.place is not None
    }
    manifests = {
        role.place: json.loads((inputs[role] / MANIFEST).read_text(encoding="utf-8"))
        for role in inputs
        if role.kind == "manifest" and role.place is not None
    }
    return State(loss, inputs[TOKENIZER], spec.compute.device, spec.batch, base, spec.history, references, manifests)
