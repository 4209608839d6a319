"""Execute the nodes that stand on traces: the grid of gradients, and what an estimator built on it is asked.

    trace, trace, … ──grid──▶ gradients ──order──▶ estimates, validation, search, positions, task orders

Losses are nats per token of the validation sets; the *objective* is the mean over those that the specification names.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cl.errors import UserError
from cl.graph.stored import result_of
from cl.methods.method import Method
from cl.sample_order import fill_grid, questions, references, trace, trace_recorder, validation
from cl.sample_order.batch_gradients import Stream
from cl.sample_order.estimator import Estimator
from cl.sample_order.fidelity import DOUBT, fidelity
from cl.sample_order.grid import Grid, Supports, Trace, nbytes
from cl.sample_order.optimizer_replay import position_weights
from cl.sample_order.questions import Question

STARS = "stars.npy"
Progress = Callable[[int, int], None]
Methods = Sequence[Sequence[Method]]
Inputs = Mapping[str, Path]
ANSWERS: dict[str, Callable[[Question], dict[str, Any]]] = {
    "estimate": questions.estimate,
    "validate": validation.validate,
    "search": questions.search,
    "position": questions.position,
    "tasks": questions.tasks,
}


def grid(spec: Mapping[str, Any], inputs: Inputs, methods: Methods, work: Path, progress: Progress) -> dict[str, Any]:
    """Execute a grid node: the gradient of every batch and set at every support point of the reference runs.

    `work` keeps what an interrupted attempt has computed. Returns losses at the points, gradients computed and seconds.
    """
    started = time.monotonic()
    stream, traces = trace.open_stream(spec, inputs, methods), _traces(spec, inputs)
    _check_room(spec, stream, sum(len(trace.positions) - 1 for trace in traces))
    if spec["stars"]:
        start = torch.from_numpy(np.array(traces[0].points[0]))
        stars = references.stars(stream, trace_recorder.update_of(stream), start)
        np.save(work / "out" / STARS, np.stack([star.points[1] for star in stars]))
        traces += stars
    found = fill_grid.measure(stream, Supports.of(traces), work, spec["part"], progress)
    (work / fill_grid.COLUMNS).rename(work / "out" / fill_grid.COLUMNS)
    return {"losses": found.losses.tolist(), "gradients": found.losses.size, "seconds": time.monotonic() - started}


def ask(spec: Mapping[str, Any], inputs: Inputs, methods: Methods, progress: Progress) -> dict[str, Any]:
    """Execute an order node: what an estimator says, by `ask`: estimate, validate, search, position or tasks.

    Every result brings the estimator's fidelity, its readout, what it costs, and the weights of the positions.
    """
    estimator = open_estimator(spec, inputs, methods)
    signals = fidelity(estimator, seed=spec["seed"])
    if spec["ask"] == "search" and signals.verdict == "refuse" and not spec["force"]:
        raise UserError(
            f"order.search: the estimator misses {signals.defect:.0%} of what changes in gradients, above {DOUBT:.0%}: "
            "it cannot rank orders; lower train.lr, raise order.references, use the oracle replay, or set order.force"
        )
    if spec["readout"] == "auto" and spec["oracle"] != "replay":  # whose ends are near enough to be read by the model
        estimator = dataclasses.replace(estimator, readout=signals.readout)
    question = Question(estimator, spec, inputs, progress, result_of(inputs["trace/0"])["seconds"])
    return {
        "fidelity": asdict(signals) | {"verdict": signals.verdict, "buried": signals.buried},
        "readout": estimator.readout,
        "given": question.given,
        "cost": question.cost(),
        "position_weights": position_weights(estimator.update),
        **ANSWERS[spec["ask"]](question),
    }


def _check_room(spec: Mapping[str, Any], stream: Stream, displacements: int) -> None:
    """Raises UserError for a grid that is larger than it may be."""
    columns = len(stream.batches) * (2 if spec["part"] else 1) + len(stream.targets)
    needed = nbytes(columns, displacements + (len(stream.batches) if spec["stars"] else 0), stream.size)
    if needed > spec["gigabytes"] * 1e9:
        raise UserError(
            f"order.gigabytes: the grid of {stream.size:,} parameters takes {needed / 1e9:.1f} GB, more than "
            f"{spec['gigabytes']:g}; raise it, raise order.stride, train fewer steps, or use LoRA"
        )


def open_estimator(spec: Mapping[str, Any], inputs: Inputs, methods: Methods) -> Estimator:
    """The estimator of a specification on a stored grid; the readout `auto` stands for `forward` here."""
    stream, traces, folder = trace.open_stream(spec, inputs, methods), _traces(spec, inputs), inputs["grid"]
    if spec["stars"]:
        start, ends = traces[0].points[0], np.load(folder / STARS, allow_pickle=False)
        traces += [Trace((batch,), (0, 1), np.stack([start, end])) for batch, end in enumerate(ends)]
    columns = np.load(folder / fill_grid.COLUMNS, mmap_mode="r", allow_pickle=False)
    losses = np.array(result_of(folder)["losses"])
    found = Grid(Supports.of(traces), columns, losses, len(stream.batches), len(stream.targets))
    readout = "forward" if spec["readout"] == "auto" else spec["readout"]
    update = trace_recorder.update_of(stream)
    return Estimator(stream, found, update, spec["oracle"], readout, spec["ridge"], part=spec["part"])


def _traces(spec: Mapping[str, Any], inputs: Inputs) -> list[Trace]:
    runs = [trace.stored(inputs[f"trace/{run}"]) for run in range(spec["references"])]
    return [run.strided(spec["stride"]) for run in runs]
