"""Execute a train node: one stage of a run, from the parent's state to the next, resumable at any step."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader

from cl.config.checkpoints import Checkpoints
from cl.config.evaluation import Evaluation
from cl.config.train import Train
from cl.data.batches import Batch, Rows, rows
from cl.data.mixture import Plan
from cl.data.sampling import Reading
from cl.graph.stored import result_of
from cl.methods.method import Learned, Method
from cl.models import adapters
from cl.models.forward import autocast
from cl.training import checkpoint, distributed, teachers
from cl.training.learner import Learner
from cl.training.recorder import Job, Recorder, Watcher
from cl.training.stage_rows import MEMORY, Batches, starting_ledger, starting_optimizer, trained
from cl.training.validation import Probe

# Lightning greets every Trainer with what it found; which device is used is ours to say, once.
logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Order:
    """What is asked of a train node.

    inputs: folders of the parents `state`, `base`, `tokenizer`, `data/NAME` and `memory/INDEX` (of the method at that
    place of the node's list); uses: data sets to look at inside the task; work: scratch, whose `checkpoint` folder
    holds what an interrupted attempt left.
    """

    spec: Mapping[str, Any]
    local: Mapping[str, Any]
    inputs: Mapping[str, Path]
    uses: Mapping[str, Path]
    methods: Sequence[Method]
    work: Path
    watcher: Watcher


def train(order: Order) -> dict[str, Any]:
    """Train the stage, and store the model, the methods' states and, if asked, the optimizer's.

    Returns points, ledgers, tokens seen by source, and seconds.
    """
    job = _job(order)
    optimizer = _fit(job, starting_optimizer(order.spec, order.inputs))
    moments = checkpoint.optimizer_tensors(optimizer) if order.local["keep_optimizer"] else None
    distributed.gather(job.learner.token_loss)
    if distributed.rank() == 0:
        _save(order, job, moments)
    return _result(job)


def _save(order: Order, job: Job, moments: dict[str, Tensor] | None) -> None:
    out = order.work / "out"
    adapters.save(job.learner.model, out, order.inputs["state"])
    if tensors := checkpoint.method_tensors(order.methods):
        save_file(tensors, out / "methods.safetensors")
    if moments is not None:
        save_file(moments, out / "optimizer.safetensors")


def _job(order: Order) -> Job:
    spec, evaluation = order.spec, Evaluation(**order.local["evaluation"])
    settings = Train(**spec["train"])
    folders = {role.removeprefix("data/"): path for role, path in order.inputs.items() if role.startswith("data/")}
    sources = {name: rows(folder, name, "train", settings.sequence) for name, folder in folders.items()}
    plan = _plan(spec, order.inputs, sources)
    learner = _learner(order, settings, plan.readings)
    if not spec["continues"]:
        _survey(order, learner, plan, sources)
    return Job(
        learner=learner,
        plan=plan,
        sources=sources,
        first=spec["first"],
        last=spec["last"],
        probe=Probe(order.uses, settings, evaluation.probe_tokens, evaluation.batch),
        device=spec["device"],
        precision=spec["precision"],
        devices=order.local["devices"],
        distributed=order.local["distributed"],
        work=order.work,
        evaluation=evaluation,
        checkpoints=Checkpoints(**order.local["checkpoints"]),
        watcher=order.watcher,
    )


def _learner(order: Order, settings: Train, readings: Sequence[Reading]) -> Learner:
    """The learner before its first step: the parent's model, changed by the methods that were told what they know."""
    spec, inputs = order.spec, order.inputs
    torch.manual_seed(spec["seed"] * 1_000_003 + spec["t"])
    model = adapters.load(inputs["state"], inputs.get("base"))
    for place, method in enumerate(order.methods):
        if f"memory/{place}" in inputs:
            method.remember(_memory(order, place))
        model = method.prepare(model, spec["t"])
    stored = inputs["state"] / "methods.safetensors"
    if spec["continues"] and stored.exists():  # inside one stage: on from the parent's state
        checkpoint.load_methods(order.methods, load_file(stored))
    together = order.local["devices"] > 1 and order.local["distributed"] == "fsdp"
    learner = Learner(
        model if together else model.to(spec["device"]),  # FSDP moves it layer by layer
        settings,
        order.methods,
        separator=result_of(inputs["tokenizer"])["separator_id"],
        total=spec["steps"],
        start=spec["first"],
        t=spec["t"],
        readings=readings,
        compiled=spec["compile"],
    )
    stage = teachers.Setting(spec["t"], spec["device"], spec["precision"], readings)
    for place, method in enumerate(order.methods):
        if teaching := method.teacher(spec["t"]):
            learner.teachers[place] = teachers.opening(teaching, place, inputs, learner.token_loss, stage)
    return learner


def _survey(order: Order, learner: Learner, plan: Plan, sources: Mapping[str, Rows]) -> None:
    """Show each method that asks for it what the stage is about to learn: rows of its own tasks, not replayed ones."""
    asking = [place for place, m in enumerate(order.methods) if type(m).survey is not Method.survey]
    if not asking:
        return
    spec, loss, tasks = order.spec, learner.token_loss, [r.source for r in plan.readings if not r.beside]

    def batches(size: int) -> Iterator[Batch]:
        for batch in trained(plan.ledger_after(spec["last"]), tasks, sources, size, loss.separator):
            yield batch.to(spec["device"])

    learner.model.eval()
    with torch.random.fork_rng():  # what a survey draws is no concern of the training
        for place in asking:
            memory = _memory(order, place)
            as_trained = partial(autocast, spec["device"], spec["precision"])
            seen = Learned(learner.model, spec["t"], {}, memory, loss.total, loss.outputs, batches, tasks, as_trained)
            order.methods[place].survey(seen)


def _memory(order: Order, place: int) -> dict[str, Tensor]:
    """What the method at that place of the node's list remembers; empty where there is nothing yet."""
    folder = order.inputs.get(f"memory/{place}")
    return {} if folder is None else load_file(folder / MEMORY)


def _plan(spec: Mapping[str, Any], inputs: Mapping[str, Path], sources: Mapping[str, Rows]) -> Plan:
    return Plan.build(
        spec["shares"],
        starting_ledger(spec, inputs, sources),
        {name: len(found) for name, found in sources.items()},
        batch_rows=spec["train"]["batch"],
        steps=spec["steps"],
        seed=spec["seed"],
        row_tokens=spec["train"]["sequence"],
    )


def _fit(job: Job, optimizer_state: dict[str, Tensor] | None) -> torch.optim.Optimizer:
    """Run the loop with a fresh Trainer, from the newest checkpoint if there is one."""
    recorder = Recorder(job, optimizer_state)
    trainer = pl.Trainer(
        accelerator="gpu" if job.device == "cuda" else "cpu",
        devices=job.devices,
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
    resumed = checkpoint.newest(job.work / "checkpoint")
    first = int(resumed.name) if resumed else job.first
    if first < job.last:
        loader = DataLoader(
            Batches(job.plan, job.sources, job.learner.token_loss.separator),
            batch_size=None,
            sampler=range(first, job.last),
        )
        with _reproducible(job):
            trainer.fit(job.learner, loader)
    else:
        recorder.begin(job.learner.configure_optimizers())
    assert recorder.optimizer is not None
    return recorder.optimizer


@contextmanager
def _reproducible(job: Job) -> Iterator[None]:
    """Compiled for a CPU, gradients of embeddings are added by all threads in any order, unless this asks otherwise.

    Other bits each time would grow into other losses, and no killed run would go on as the one that was not.
    """
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(before or (job.learner.compiled and job.device == "cpu"), warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _strategy(job: Job) -> Strategy | str:
    """How the processes that torchrun started (`cl.execution.torchrun`) work together."""
    if job.devices == 1:
        return "auto"
    backend = "nccl" if job.device == "cuda" else "gloo"
    if job.distributed == "fsdp":  # PyTorch's second, which shards each tensor, on CPUs as well
        return ModelParallelStrategy(job.devices, tensor_parallel_size=1, process_group_backend=backend)
    # A method may leave parameters without a gradient in a micro-batch, as experts that no token goes to.
    return DDPStrategy(process_group_backend=backend, find_unused_parameters=bool(job.learner.methods))


def _result(job: Job) -> dict[str, Any]:
    final = job.plan.ledger_after(job.last)
    tokens = sum(job.seen(job.last).values())
    return {
        "points": [asdict(point) for point in job.points],
        "tokens": tokens,
        "steps": job.last - job.first,
        "seconds": job.seconds,
        "eval_seconds": job.eval_seconds,
        "tokens_per_second": tokens / max(job.seconds, 1e-9),
        "parameters": sum(p.numel() for p in job.learner.model.parameters()),
        "seen": job.points[-1].seen,
        "ledger": final.to_json(),
        "ledger_before": job.plan.ledger.to_json(),
        "warnings": job.plan.warnings(),
        "threads": torch.get_num_threads(),
        "devices": job.devices,
    }
