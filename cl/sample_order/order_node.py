"""Compute an order node: the answer of an estimator to one query."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from cl.errors import UserError
from cl.graph.roles import GRID, Inputs, Role
from cl.graph.stored import result_of
from cl.sample_order import fill_grid, questions, trace, trace_recorder, validation
from cl.sample_order.estimator import Estimator
from cl.sample_order.fidelity import DOUBT, fidelity
from cl.sample_order.grid import Grid, Supports, Trace
from cl.sample_order.grid_node import STARS
from cl.sample_order.optimizer_replay import position_weights
from cl.sample_order.questions import Question
from cl.sample_order.specs import OrderSpec
from cl.steps.context import Context

ANSWERS: dict[str, Callable[[Question], dict[str, Any]]] = {
    "estimate": questions.estimate,
    "validate": validation.validate,
    "search": questions.search,
    "position": questions.position,
    "tasks": questions.tasks,
}


def run(spec: OrderSpec, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Answer the query `spec.ask`: estimate, validate, search, position or tasks.

    Returns:
        The answer, with the estimator's fidelity, readout, cost, and weights of positions.

    Raises:
        UserError: for a search with an estimator that cannot rank orders, unless `spec.force` is set.
    """
    estimator = open_estimator(spec, inputs)
    signals = fidelity(estimator, seed=spec.seed)
    if spec.ask == "search" and signals.verdict == "refuse" and not spec.force:
        raise UserError(
            f"order.search: the estimator misses {signals.defect:.0%} of the change of gradients, above {DOUBT:.0%}: "
            "it cannot rank orders; lower train.lr, raise order.references, use the oracle replay, or set order.force"
        )
    if spec.readout == "auto" and spec.oracle != "replay":  # the readout chosen by the estimator's defect
        estimator = dataclasses.replace(estimator, readout=signals.readout)
    retraining = result_of(inputs[Role("trace", 0)])["seconds"]
    question = Question(estimator, spec, inputs, context.watcher.progress, retraining)
    return {
        "fidelity": asdict(signals) | {"verdict": signals.verdict, "buried": signals.buried},
        "readout": estimator.readout,
        "given": question.given,
        "cost": question.cost(),
        "position_weights": position_weights(estimator.update),
        **ANSWERS[spec.ask](question),
    }


def open_estimator(spec: OrderSpec, inputs: Inputs) -> Estimator:
    """Open the estimator of a specification on the stored grid. The readout `auto` means `forward`."""
    stream, traces, folder = trace.open_stream(spec, inputs), trace.traces(spec, inputs), inputs[GRID]
    if spec.stars:
        start, ends = traces[0].points[0], np.load(folder / STARS, allow_pickle=False)
        traces += [Trace((batch,), (0, 1), np.stack([start, end])) for batch, end in enumerate(ends)]
    columns = np.load(folder / fill_grid.COLUMNS, mmap_mode="r", allow_pickle=False)
    losses = np.array(result_of(folder)["losses"])
    found = Grid(Supports.of(traces), columns, losses, len(stream.batches), len(stream.targets))
    readout = "forward" if spec.readout == "auto" else spec.readout
    update = trace_recorder.update_of(stream)
    return Estimator(stream, found, update, spec.oracle, readout, spec.ridge, part=spec.part)
