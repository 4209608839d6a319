"""Execute a train node: one stage of a run, from the parent's state to the next, resumable at any step."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cl import checkpoint, models
from cl.data import Rows, rows
from cl.errors import UserError
from cl.evaluation import Probe, result_of
from cl.learner import Learner
from cl.method import Method
from cl.mixing import Ledger, Plan
from cl.results import Point
from cl.settings import Checkpoints, Evaluation, Train

# Lightning greets every Trainer with what it found; which device is used is ours to say, once.
logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)

POINTS = 100  # points recorded per stage, apart from those that evaluate
FORWARD = 1 / 3  # of a training step: what a look costs per token, until one was timed


class Watcher(Protocol):
    """Who looks on while a node is computed; nothing it does can change the result."""

    def progress(self, done: int, total: int) -> None:
        """`done` of `total` steps are finished."""

    def point(self, point: Point) -> None:
        """A point of the curve was recorded."""


@dataclass
class Job:
    """A train node made ready: everything that its loop needs."""

    learner: Learner
    plan: Plan
    sources: Mapping[str, Rows]
    first: int
    last: int
    probe: Probe
    device: str
    precision: str
    work: Path
    evaluation: Evaluation
    checkpoints: Checkpoints
    watcher: Watcher
    points: list[Point] = field(default_factory=list)
    seconds: float = 0.0
    eval_seconds: float = 0.0


def train(
    spec: Mapping[str, Any],
    local: Mapping[str, Any],
    inputs: Mapping[str, Path],
    uses: Mapping[str, Path],
    methods: Sequence[Method],
    work: Path,
    watcher: Watcher,
) -> dict[str, Any]:
    """Train the stage that `spec` describes, and store model, method states and, if asked, optimizer state.

    inputs: folders of the parents `state`, `tokenizer` and `data/NAME`; uses: data sets to look at inside the
    task; work: scratch, whose `checkpoint` folder holds what an interrupted attempt left.
    Returns points, ledgers, tokens seen by source, and seconds.
    """
    job = _prepare(spec, local, inputs, uses, methods, work, watcher)
    optimizer = _fit(job, _starting_optimizer(spec, inputs))
    out = work / "out"
    for method in methods:
        method.finish(job.learner.model, spec["t"])
    models.save(job.learner.model, out)
    if tensors := checkpoint.method_tensors(methods):
        save_file(tensors, out / "methods.safetensors")
    if local["keep_optimizer"]:
        save_file(checkpoint.optimizer_tensors(optimizer), out / "optimizer.safetensors")
    return _result(job)


def _prepare(
    spec: Mapping[str, Any],
    local: Mapping[str, Any],
    inputs: Mapping[str, Path],
    uses: Mapping[str, Path],
    methods: Sequence[Method],
    work: Path,
    watcher: Watcher,
) -> Job:
    settings, evaluation = Train(**spec["train"]), Evaluation(**local["evaluation"])
    sources = {
        role.removeprefix("data/"): rows(folder, "train", settings.sequence)
        for role, folder in inputs.items()
        if role.startswith("data/")
    }
    plan = Plan.build(
        spec["shares"],
        starting_ledger(spec, inputs, sources),
        {name: len(found) for name, found in sources.items()},
        batch_rows=settings.batch,
        steps=spec["steps"],
        seed=spec["seed"],
        row_tokens=settings.sequence,
    )
    torch.manual_seed(spec["seed"] * 1_000_003 + spec["t"])
    model = models.load(inputs["state"])
    if (inputs["state"] / "methods.safetensors").exists():
        checkpoint.load_methods(methods, load_file(inputs["state"] / "methods.safetensors"))
    for method in methods:
        method.prepare(model, spec["t"])
    learner = Learner(
        model.to(spec["device"]),
        settings,
        methods,
        separator=result_of(inputs["tokenizer"])["separator_id"],
        total=spec["steps"],
        start=spec["first"],
        t=spec["t"],
        compiled=spec["compile"],
    )
    probe = Probe(uses, settings, evaluation.probe_tokens, evaluation.batch)
    return Job(
        learner,
        plan,
        sources,
        spec["first"],
        spec["last"],
        probe,
        spec["device"],
        spec["precision"],
        work,
        evaluation,
        Checkpoints(**local["checkpoints"]),
        watcher,
    )


def starting_ledger(spec: Mapping[str, Any], inputs: Mapping[str, Path], sources: Mapping[str, Rows]) -> Ledger:
    """What was consumed before the stage: the parent's ledger, and tasks that a pretrained model knows.

    A stage that continues inside its parent's starts from the ledger with which the parent started, and so
    reads the same plan.
    """
    parent = result_of(inputs["state"])
    name = "ledger_before" if spec["continues"] else "ledger"
    ledger = Ledger.from_json(parent[name]) if name in parent else Ledger()
    for task, tokens in spec["known"].items():
        if task in sources and task not in ledger.accounts:
            ledger = ledger.known(task, len(sources[task]), spec["seed"], tokens)
    return ledger


def _starting_optimizer(spec: Mapping[str, Any], inputs: Mapping[str, Path]) -> dict[str, Tensor] | None:
    return load_file(inputs["state"] / "optimizer.safetensors") if spec["optimizer"] == "keep" else None


class Batches(Dataset[Tensor]):
    """Batch of ids [batch, sequence + 1] of each optimizer step of a plan."""

    def __init__(self, plan: Plan, sources: Mapping[str, Rows]) -> None:
        self.plan, self.sources = plan, sources

    def __getitem__(self, step: int) -> Tensor:
        return torch.stack([self.sources[source][row] for source, row in self.plan.batch(step)])

    def __len__(self) -> int:
        return self.plan.steps


def _fit(job: Job, optimizer_state: dict[str, Tensor] | None) -> torch.optim.Optimizer:
    """Run the loop with a fresh Trainer, from the newest checkpoint if there is one."""
    recorder = Recorder(job, optimizer_state)
    trainer = pl.Trainer(
        accelerator="gpu" if job.device == "cuda" else "cpu",
        devices=1,
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
        loader = DataLoader(Batches(job.plan, job.sources), batch_size=None, sampler=range(first, job.last))
        trainer.fit(job.learner, loader)
    else:
        recorder.begin(job.learner.configure_optimizers())
    assert recorder.optimizer is not None
    return recorder.optimizer


class Recorder(pl.Callback):
    """Records the curve, looks at the validation windows, and saves checkpoints; training does not notice."""

    def __init__(self, job: Job, optimizer_state: dict[str, Tensor] | None) -> None:
        self.job, self.optimizer_state = job, optimizer_state
        self.optimizer: torch.optim.Optimizer | None = None
        count = job.last - job.first
        self.record_at = {job.first + round(i * count / POINTS) for i in range(POINTS + 1)}
        self.look_at = set(evaluation_steps(job.first, job.last, job.evaluation.points))
        self.losses: list[dict[str, Any]] = []
        self.clock = self.saved = time.monotonic()
        self.look_cost = 0.0

    def begin(self, optimizer: torch.optim.Optimizer) -> None:
        """Take up the newest checkpoint, or record the state before the first update."""
        self._restore(self.job.learner, optimizer)
        self.clock = self.saved = time.monotonic()
        if self.job.points:
            for point in self.job.points:  # who looks on may have missed some when the process was killed
                self.job.watcher.point(point)
        else:
            self._record(self.job.learner)

    def _restore(self, learner: Learner, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        path = checkpoint.newest(self.job.work / "checkpoint")
        if path is not None:
            state = checkpoint.restore(path, learner.model, optimizer, learner.methods)
            learner.step = state["step"]
            self.job.points = [Point(**point) for point in state["points"]]
            self.job.seconds, self.job.eval_seconds = state["seconds"], state["eval_seconds"]
        elif self.optimizer_state is not None:
            checkpoint.load_optimizer(optimizer, self.optimizer_state)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin."""
        self.begin(trainer.optimizers[0])

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record, look and save where it is due."""
        learner = self.job.learner
        self.losses.append(learner.last)
        if learner.step in self.record_at or learner.step in self.look_at or learner.step == self.job.last:
            self._record(learner)
        self.job.watcher.progress(learner.step - self.job.first, self.job.last - self.job.first)
        self._save_if_due(learner)

    def _record(self, learner: Learner) -> None:
        means = summarise(self.losses)  # first: reading them waits for the device
        if not all(math.isfinite(means.get(name, 0.0)) for name in ("loss", "grad_norm")):
            raise UserError(f"train: the loss is not finite at step {learner.step}; lower train.lr or train.clip")
        now = time.monotonic()
        self.job.seconds += now - self.clock
        scores = self._look(learner) if self._may_look(learner.step) else {}
        self.clock = time.monotonic()
        self.job.eval_seconds += self.clock - now
        point = Point(
            step=learner.step,
            tokens=(learner.step - self.job.first) * self.job.plan.batch_rows * self.job.plan.row_tokens,
            seconds=self.job.seconds,
            seen=self._seen(learner.step),
            scores=scores,
            **means,
        )
        self.losses = []
        self.job.points.append(point)
        self.job.watcher.point(point)

    def _look(self, learner: Learner) -> dict[str, float]:
        started = time.monotonic()
        scores = self.job.probe(learner.token_loss, self.job.device, self.job.precision)
        self.look_cost = time.monotonic() - started
        return scores

    def _may_look(self, step: int) -> bool:
        """Whether a look at this step is planned and keeps within its share of the stage's expected time."""
        job = self.job
        done, total = step - job.first, job.last - job.first
        if step not in self.look_at or not total:
            return False
        spent, look = 0.0, FORWARD * job.probe.tokens / (total * job.plan.batch_rows * job.plan.row_tokens)
        if done:
            expected = job.seconds / done * total
            spent, look = job.eval_seconds / expected, self.look_cost / expected or look
        return spent + look <= job.evaluation.share

    def _seen(self, step: int) -> dict[str, int]:
        """Tokens read in this node so far, by share key."""
        before, after = self.job.plan.counts(self.job.first), self.job.plan.counts(step)
        return {key: (after[key] - before[key]) * self.job.plan.row_tokens for key in after}

    def _save_if_due(self, learner: Learner) -> None:
        every, step = self.job.checkpoints, learner.step
        due = time.monotonic() - self.saved >= every.seconds or (every.steps is not None and step % every.steps == 0)
        if not due or step == self.job.last:
            return
        if self.losses:
            self._record(learner)
        now = time.monotonic()
        extra = {
            "points": [asdict(point) for point in self.job.points],
            "seconds": self.job.seconds,
            "eval_seconds": self.job.eval_seconds,
        }
        assert self.optimizer is not None
        checkpoint.save(self.job.work / "checkpoint", step, learner.model, self.optimizer, learner.methods, extra)
        self.saved = time.monotonic()
        self.clock += self.saved - now  # writing is not training time


def evaluation_steps(first: int, last: int, points: int) -> Iterator[int]:
    """Steps of in-task evaluations, denser after the boundary, where forgetting is fastest; the last one included."""
    for i in range(points + 1):
        yield first + round((last - first) * (i / points) ** 1.5) if points else last


def summarise(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over optimizer steps as fields of a Point: loss, lr of the last, gradient norm, terms and their ratios."""
    if not steps:
        return {}
    mean: Callable[[str], float] = lambda name: float(torch.stack([step[name] for step in steps]).mean())  # noqa: E731
    loss = mean("loss")
    terms: dict[str, float] = {}
    for name in steps[-1]["terms"]:
        value = float(torch.stack([step["terms"][name] for step in steps]).mean())
        terms |= {name: value, f"{name}/ratio": value / loss}
    return {"loss": loss, "lr": steps[-1]["lr"], "grad_norm": mean("grad_norm"), "terms": terms}


def _result(job: Job) -> dict[str, Any]:
    final = job.plan.ledger_after(job.last)
    tokens = (job.last - job.first) * job.plan.batch_rows * job.plan.row_tokens
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
    }
