"""Compute a train node: one stage of a run."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader

from cl.data.batches import Batch
from cl.data.mixture import Plan
from cl.data.rows import Rows, rows
from cl.data.sampling import Reading
from cl.graph.roles import BASE, STATE, TOKENIZER, Inputs, Role
from cl.graph.specs import Local, Packing, TrainSpec, row_length
from cl.graph.stored import MANIFEST, result_of
from cl.methods import strategy
from cl.methods.method import Learned, PlansStages, Remembers, Trains, overrides
from cl.models import adapters, quantized
from cl.models.forward import autocast
from cl.steps.context import Context
from cl.training import checkpoint, distributed, out_of_memory, teachers
from cl.training.learner import Learner
from cl.training.optimizer import measured
from cl.training.recorder import Job, Recorder
from cl.training.snapshots import Snapshots
from cl.training.stage_rows import (
    MEMORY,
    Batches,
    replaced_rows,
    stage_plan,
    stage_seed,
    starting_ledger,
    starting_optimizer,
    trained,
)
from cl.training.validation import Validator

# Lightning prints devices for every Trainer; `cl` prints the device once.
logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
NONE: dict[str, list[str]] = {"told": []}  # of rows that no method cut


def run(spec: TrainSpec, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Train one stage from the parent's state, resumable at any step.

    Stores the model, the methods' states and, if asked, the optimizer's state.

    Where memory does not suffice, the stage goes on from its newest checkpoint with smaller micro-batches.

    Returns:
        Points of the curve, ledgers, tokens by source, seconds; `micro_batch`, if it was reduced.
    """
    local = _local(context)
    if local.devices * local.machines > 1:  # one process cannot change what all do
        return _trained(spec, inputs, context)

    def train(rows: int) -> dict[str, Any]:
        fitted = spec if rows == chosen else replace(spec, train=replace(spec.train, micro_batch=rows))
        return _trained(fitted, inputs, context)

    chosen = spec.train.micro_batch or spec.train.batch
    result, rows = out_of_memory.fitting(train, spec.train.batch, chosen, context.watcher.note)
    return result if rows == chosen else {**result, "micro_batch": rows}


def _trained(spec: TrainSpec, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Train the stage and store its state."""
    job = _job(spec, inputs, context)
    optimizer = _fit(job, starting_optimizer(spec, inputs))
    moments = checkpoint.optimizer_tensors(optimizer) if _local(context).keep_optimizer else None
    kept = distributed.collected(checkpoint.method_tensors(job.learner.methods))
    with measured(optimizer):
        distributed.gather(job.learner.token_loss)
        if distributed.rank() == 0:
            _save(job, context.out, inputs[STATE], kept, moments)
            job.snapshots.publish(context.out)
    return _result(job)


def _local(context: Context) -> Local:
    """Settings that are needed at run time."""
    assert context.local is not None
    return context.local


def _save(job: Job, out: Path, parent: Path, kept: dict[str, Tensor], moments: dict[str, Tensor] | None) -> None:
    """Store the model, the states of the methods, the manifest of replaced rows, and the optimizer's state if given."""
    adapters.save(job.learner.model, out, parent)
    if job.replaced:
        (out / MANIFEST).write_text(json.dumps([dict(each.note) for each in job.replaced]), encoding="utf-8")
    if kept:
        save_file(kept, out / "methods.safetensors")
    if moments is not None:
        save_file(moments, out / "optimizer.safetensors")


def _job(spec: TrainSpec, inputs: Inputs, context: Context) -> Job:
    """Open everything that the training loop needs."""
    local, sequence = _local(context), spec.train.sequence
    packing = local.packing or Packing(sequence, spec.train.boundaries)
    sources = {name: rows(folder, name, "train", sequence) for name, folder in inputs.datasets().items()}
    plan = stage_plan(spec, starting_ledger(spec, inputs, sources), sources)
    learner = _learner(spec, inputs, local, plan.readings)
    told = _narrow(learner.model, spec)
    separator = learner.token_loss.separator
    replaced = replaced_rows(spec, learner.methods, plan, sources, inputs.datasets(), separator)
    if not spec.continues:
        _survey(spec, inputs, learner, plan, sources)
    return Job(
        learner=learner,
        plan=plan,
        sources=sources,
        first=spec.first,
        last=spec.last,
        validator=Validator(
            context.uses, partial(row_length, packing), local.evaluation.probe_tokens, local.evaluation.batch
        ),
        device=spec.compute.device,
        precision=spec.compute.precision,
        devices=local.devices,
        machines=local.machines,
        distributed=local.distributed,
        work=context.work,
        evaluation=local.evaluation,
        checkpoints=local.checkpoints,
        watcher=context.watcher,
        snapshots=Snapshots(local.snapshots, context.work / "snapshots", inputs[STATE]),
        replaced=replaced,
        told=[
            *told,
            *(text for folder in inputs.datasets().values() for text in result_of(folder).get("cut", NONE)["told"]),
        ],
    )


def _narrow(model: Any, spec: TrainSpec) -> list[str]:
    """Keep linear modules in the form of `model.weights`; returns a sentence about those that keep fp32."""
    if spec.weights is None:
        return []
    if spec.weights == "bf16":
        quantized.train_in_bf16(model)
    left = quantized.hold(model, spec.weights)
    merged = f"{left} frozen linear modules are kept in fp32 in training: adapters were merged into them"
    return [f"model.weights: {spec.weights}: {merged}"] if left else []


def _learner(spec: TrainSpec, inputs: Inputs, local: Local, readings: Sequence[Reading]) -> Learner:
    """The learner before its first step: the parent's model after `remember` and `prepare` of the methods."""
    torch.manual_seed(stage_seed(spec.seed, spec.t))
    methods = [strategy.build_method(named, f"stage {spec.t}") for named in spec.methods]
    training = [method for method in methods if isinstance(method, Trains)]
    model = adapters.load(inputs[STATE], inputs.get(BASE))
    if local.devices * local.machines == 1 or local.distributed != "fsdp":  # FSDP moves it layer by layer
        model = model.to(spec.compute.device)
    for place, method in enumerate(training):
        if isinstance(method, Remembers) and Role("memory", place) in inputs:
            method.remember(_memory(inputs, place))
    model = strategy.prepared(model, training, spec.t)
    stored = inputs[STATE] / "methods.safetensors"
    if spec.continues and stored.exists():  # the same stage goes on
        checkpoint.load_methods(training, load_file(stored), model.device)
    learner = Learner(
        model,
        spec.train,
        training,
        separator=result_of(inputs[TOKENIZER])["separator_id"],
        total=spec.steps,
        start=spec.first,
        t=spec.t,
        readings=readings,
        compiled=spec.compute.compile,
        attention=spec.compute.attention,
    )
    stage = teachers.Setting(spec.t, spec.compute.device, spec.compute.precision, readings)
    for place, method in enumerate(training):
        teaching = method.teaching(spec.t) if isinstance(method, PlansStages) else None
        if teaching is not None:
            learner.teachers[place] = teachers.opening(teaching, place, inputs, learner.token_loss, stage)
    return learner


def _survey(spec: TrainSpec, inputs: Inputs, learner: Learner, plan: Plan, sources: Mapping[str, Rows]) -> None:
    """Call `survey` of the methods with the rows of the stage's own tasks, without replayed rows."""
    asking = [place for place, method in enumerate(learner.methods) if overrides(method, Trains.survey)]
    if not asking:
        return
    loss, tasks = learner.token_loss, [r.source for r in plan.readings if not r.beside]

    def batches(size: int) -> Iterator[Batch]:
        for batch in trained(plan.ledger_after(spec.last), tasks, sources, size, loss.separator):
            yield batch.to(spec.compute.device)

    learner.model.eval()
    # random numbers of a survey must not change the training
    with torch.random.fork_rng(), loss.unpacked():
        for place in asking:
            memory = _memory(inputs, place)
            as_trained = partial(autocast, spec.compute.device, spec.compute.precision)
            seen = Learned(learner.model, spec.t, {}, memory, loss.total, loss.outputs, batches, tasks, as_trained)
            learner.methods[place].survey(seen)


def _memory(inputs: Inputs, place: int) -> dict[str, Tensor]:
    """Memory of the method at index `place`; empty if there is none yet."""
    folder = inputs.get(Role("memory", place))
    return {} if folder is None else load_file(folder / MEMORY)


def _fit(job: Job, optimizer_state: dict[str, Tensor] | None) -> torch.optim.Optimizer:
    """Run the loop with a fresh Trainer, from the newest checkpoint if there is one."""
    resumed, told = checkpoint.newest(job.work / "checkpoint")
    if resumed is not None and job.snapshots.lacks(int(resumed.name)):
        resumed, told = None, ["the checkpoint was made without states that probes read"]
    for text in told:
        job.watcher.note(
            f"{text}; training goes on from {'the start' if resumed is None else f'step {int(resumed.name)}'}"
        )
    recorder = Recorder(job, optimizer_state, resumed)
    trainer = pl.Trainer(
        accelerator="gpu" if job.device == "cuda" else "cpu",
        devices=job.devices,
        num_nodes=job.machines,
        strategy=_strategy(job),
        max_epochs=1,
        precision="bf16-mixed" if job.precision == "bf16" else "32-true",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[recorder],
        use_distributed_sampler=False,
    )
    first = int(resumed.name) if resumed else job.first
    if first < job.last:
        loader = DataLoader(
            Batches(job.plan, job.sources, job.learner.token_loss.separator, job.replaced),
            batch_size=None,
            sampler=range(first, job.last),
        )
        with _reproducible(job), recorder.writer:
            trainer.fit(job.learner, loader)
    else:
        recorder.begin(job.learner.configure_optimizers())
    assert recorder.optimizer is not None
    return recorder.optimizer


@contextmanager
def _reproducible(job: Job) -> Iterator[None]:
    """Context with deterministic algorithms if the model is compiled for a CPU.

    Otherwise compiled code sums gradients of embeddings over threads in an arbitrary order. Rounding would differ
    between calls, and a resumed run would not be equal to an uninterrupted one.
    """
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(before or (job.learner.compiled and job.device == "cpu"), warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _strategy(job: Job) -> Strategy | str:
    """Lightning strategy of the processes that torchrun started (`cl.execution.torchrun`)."""
    processes = job.devices * job.machines
    if processes == 1:
        return "auto"
    backend = "nccl" if job.device == "cuda" else "gloo"
    if job.distributed == "fsdp":  # FSDP2 shards each tensor, also on CPUs
        return ModelParallelStrategy(processes, tensor_parallel_size=1, process_group_backend=backend)
    unused = any(method.skips_parameters for method in job.learner.methods)
    return DDPStrategy(process_group_backend=backend, find_unused_parameters=unused)


def _result(job: Job) -> dict[str, Any]:
    """The node's result."""
    final = job.plan.ledger_after(job.last)
    tokens = sum(job.seen(job.last).values())
    return {
        "points": [asdict(point) for point in job.points],
        "tokens": tokens,
        "steps": job.last - job.first,
        "seconds": job.seconds,
        "eval_seconds": job.eval_seconds,
        "tokens_per_second": tokens / max(job.seconds, 1e-9),
        "parameters": quantized.parameters(job.learner.model),
        "seen": job.points[-1].seen,
        "ledger": final.to_json(),
        "ledger_before": job.plan.ledger.to_json(),
        "warnings": [*job.plan.warnings(), *job.told],
        "threads": torch.get_num_threads(),
        "devices": job.devices * job.machines,
    }
