"""Compute a trace node: train the stages of a run without interruption, with their batches in a given order.

The batches are those of the train nodes, from the same plans and ledger. Only plain stages can be reordered: each stage
continues from the previous one, trains the same parameters, and uses only the gradient of the batch itself.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cl.data.batches import Batch, collate
from cl.data.mixture import Ledger, Plan
from cl.data.rows import Rows, rows
from cl.data.sampling import Reading
from cl.errors import UserError
from cl.graph.roles import BASE, STATE, TOKENIZER, Inputs, Role, data
from cl.graph.specs import TrainSpec
from cl.graph.stored import result_of
from cl.methods import strategy
from cl.methods.method import Trains
from cl.models import adapters
from cl.sample_order import trace_recorder
from cl.sample_order.batch_gradients import Stream
from cl.sample_order.grid import Trace
from cl.sample_order.specs import EstimatorSpec, StreamSpec, TraceSpec
from cl.steps.context import Context
from cl.training.learner import Learner
from cl.training.stage_rows import Batches, stage_plan, stage_seed, starting_ledger, starting_optimizer
from cl.training.validation import window

POINTS = "points.npy"


def run(spec: TraceSpec, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Train in the order of the specification, and store the parameters before every step (`keep: end`: at both ends).

    Returns:
        Order, positions of the stored points, seconds of training, number of parameters, and the final loss of each set
        in nats per token on the first `spec.tokens` tokens of `validation` and `test`.
    """
    stream = open_stream(spec, inputs)
    order, steps = tuple(spec.order), len(stream.batches)
    started = time.monotonic()
    every = 1 if spec.keep == "all" else steps
    found = trace_recorder.record(stream, order, stream.read(), context.out / POINTS, every)
    seconds = time.monotonic() - started
    context.watcher.progress(1, 2)
    end = torch.from_numpy(np.array(found.points[-1]))
    losses = {name: stream.loss(name, end) for name in stream.targets}
    stream.targets = targets(spec, inputs, "test")
    return {
        "order": list(order),
        "positions": list(found.positions),
        "seconds": seconds,
        "parameters": stream.size,
        "validation": losses,
        "test": {name: stream.loss(name, end) for name in stream.targets},
    }


def stored(folder: Path) -> Trace:
    """The trace of a stored node, with memory-mapped points."""
    result = result_of(folder)
    points = np.load(folder / POINTS, mmap_mode="r", allow_pickle=False)
    return Trace(tuple(result["order"]), tuple(result["positions"]), points)


def traces(spec: EstimatorSpec, inputs: Inputs) -> list[Trace]:
    """The reference runs of an estimator, at its support points."""
    runs = [stored(inputs[Role("trace", place)]) for place in range(spec.references)]
    return [run.strided(spec.stride) for run in runs]


def open_stream(spec: StreamSpec, inputs: Inputs) -> Stream:
    """Open the stream of a specification: the stages' learners on one model, all batches, and the validation sets.

    Raises:
        UserError: if the stages do not train the same parameters.
    """
    model = adapters.load(inputs[STATE], inputs.get(BASE)).to(spec.stages[0].compute.device)
    separator = result_of(inputs[TOKENIZER])["separator_id"]
    legs: list[tuple[Learner, int]] = []
    batches: list[Batch] = []
    same: list[list[int]] = []  # trained parameters of each stage
    ledger: Ledger | None = None
    for stage in spec.stages:
        torch.manual_seed(stage_seed(stage.seed, stage.t))
        methods = [strategy.build_method(named, f"stage {stage.t}") for named in stage.methods]
        own = [method for method in methods if isinstance(method, Trains)]
        model = strategy.prepared(model, own, stage.t)
        plan, sources = _plan(stage, inputs, ledger)
        ledger = plan.ledger_after(plan.steps)
        trained = Batches(plan, sources, separator)
        batches += [trained[step] for step in range(len(trained))]
        learner = Learner(
            model, stage.train, own,
            separator=separator, total=stage.steps, t=stage.t, readings=plan.readings,
            attention=stage.compute.attention,
        )  # fmt: skip
        legs.append((learner, len(trained)))
        same.append([id(p) for p in model.parameters() if p.requires_grad])
    if any(ids != same[0] for ids in same):
        raise UserError(
            "order: the stages train different parameters, so their batches cannot change places; "
            "use full training or LoRA with life: continue"
        )
    kept = all(stage.optimizer == "keep" for stage in spec.stages[1:])
    before, first = starting_optimizer(spec.stages[0], inputs), spec.stages[0]
    return Stream(legs, batches, targets(spec, inputs, "validation"), kept, first.seed, before)


def _plan(stage: TrainSpec, inputs: Inputs, ledger: Ledger | None) -> tuple[Plan, dict[str, Rows]]:
    """Plan and training rows of a stage. ledger: after the previous stage; None: the parent's."""
    names = sorted({Reading.parse(key).source for key in stage.shares})
    sources = {name: rows(inputs[data(name)], name, "train", stage.train.sequence) for name in names}
    return stage_plan(stage, ledger or starting_ledger(stage, inputs, sources), sources), sources


def targets(spec: StreamSpec, inputs: Inputs, split: str) -> dict[str, list[Batch]]:
    """Batches of the first `spec.tokens` tokens of a split, for each set."""
    separator = result_of(inputs[TOKENIZER])["separator_id"]
    sequence, size = spec.stages[0].train.sequence, spec.batch
    found = {}
    for name in spec.sets:
        windows, count = window(inputs[data(name)], name, split, sequence, spec.tokens)
        starts = range(0, count, size)
        found[name] = [collate((windows[row] for row in range(s, min(s + size, count))), separator) for s in starts]
    return found
