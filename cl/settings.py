"""Settings of an experiment's parts, as frozen dataclasses that check themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from cl.errors import UserError


@dataclass(frozen=True)
class Model:
    """Which causal language model learns.

    Args:
        name: a fresh configuration or a packaged model (`cl list models`), a local directory, or a hub id.
        revision: commit or tag of a hub model.
        tokenizer: name of a model whose tokenizer to use; by default the model's own, and for a fresh model
            one that is trained on the scenario's training text.
        vocabulary: size of a tokenizer that is trained; an error where none is.
        knows: leading tasks of the scenario that a pretrained model has learned already. They are not
            trained; their data stand in for what it was pretrained on (a proxy, and reported as such).
        system: text of the system turn before every question of an instruction task ("" is an empty turn); by default
            what the model's chat template writes of its own accord.
        trust_remote_code: run code that comes with a hub model.
    """

    name: str
    revision: str | None = None
    tokenizer: str | None = None
    vocabulary: int | None = None
    knows: list[str] = field(default_factory=list)
    system: str | None = None
    trust_remote_code: bool = False


@dataclass(frozen=True)
class Train:
    """How every stage is trained. Schedules and other methods multiply or add to this.

    Args:
        lr: peak learning rate; schedules are factors on it.
        weight_decay: of AdamW, on matrices only (norms and biases are not decayed).
        betas: of AdamW (arXiv 2403.08763, section 3: 0.9, 0.95).
        eps: of AdamW.
        clip: largest global gradient norm.
        sequence: tokens per row.
        batch: rows per optimizer step.
        micro_batch: rows per forward pass; by default the whole batch. It cannot change the loss beyond rounding.
        boundaries: keep attention and positions inside documents; false = documents only separated by a token.
        precision: `fp32`, `bf16` (autocast) or `auto`: bf16 where the processor has bf16 matrix units.
        compile: torch.compile; `auto`: where it pays (see `cl.models.resolve`).
        device: `cpu`, `cuda` or `auto`.
        gradient_checkpointing: recompute activations in the backward pass to save memory.
        devices: of one machine that train a stage together, a process each; they change a result by rounding alone, and
            no key. All else is computed on one.
        distributed: how: `ddp`, each has the whole model, or `fsdp`, each a shard of it.
    """

    lr: float = 1e-3
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    clip: float = 1.0
    sequence: int = 256
    batch: int = 8
    micro_batch: int | None = None
    boundaries: bool = True
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool | Literal["auto"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gradient_checkpointing: bool = False
    devices: int = 1
    distributed: Literal["ddp", "fsdp"] = "ddp"

    def __post_init__(self) -> None:
        if self.devices < 1 or self.batch % self.devices:
            raise UserError(f"train.devices: {self.devices} does not divide train.batch = {self.batch}")
        rows = self.batch // self.devices
        if self.micro_batch is not None and (self.micro_batch < 1 or rows % self.micro_batch):
            each = "" if self.devices == 1 else f" / {self.devices} devices"
            raise UserError(f"train.micro_batch: {self.micro_batch} does not divide train.batch = {self.batch}{each}")
        if self.weight_decay < 0 or not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"train: weight_decay {self.weight_decay} must be >= 0, betas {self.betas} in [0, 1)")
        for name in ("lr", "eps", "clip", "sequence", "batch"):
            if getattr(self, name) <= 0:
                raise UserError(f"train.{name}: {getattr(self, name)} must be positive")


@dataclass(frozen=True)
class Evaluation:
    """What is measured, and when.

    Args:
        tokens: largest number of test tokens per data set in a full evaluation (a row of R).
        items: test examples per instruction task that the model answers, at most; 0 = loss only.
        batch: rows per forward pass; fixed, so that scores cannot move with it.
        probe_tokens: validation tokens per data set of an in-task evaluation.
        points: in-task evaluations per stage, if they fit into `share`.
        share: largest share of a stage's time that in-task evaluation may take.
        probing: score the hidden states of tasks with labels as well, for each row of R: the share of `items` that a
            linear classifier tells apart which is fitted to the training questions of all tasks (arXiv 2312.07887).
        split: that rows of R are measured on: `validation` is what hyperparameters are chosen on (`cl tune`): of the
            tasks of the stream alone, without retain sets.
    """

    tokens: int = 65536
    items: int = 100
    batch: int = 8
    probe_tokens: int = 4096
    points: int = 20
    share: float = 0.1
    probing: bool = False
    split: Literal["test", "validation"] = "test"

    def __post_init__(self) -> None:
        if self.probing and not self.items:
            raise UserError("evaluation.probing: needs the answers that evaluation.items counts; set that above 0")
        if not 0 <= self.share < 1:
            raise UserError(f"evaluation.share: {self.share} must be in [0, 1): it is a share of the time")
        for name, least in (("tokens", 1), ("items", 0), ("batch", 1), ("probe_tokens", 1), ("points", 0)):
            if getattr(self, name) < least:
                raise UserError(f"evaluation.{name}: {getattr(self, name)} must be at least {least}")


@dataclass(frozen=True)
class Checkpoints:
    """When the state of an unfinished node is saved. Only the newest is kept, and none once it is finished.

    Args:
        seconds: at most this long between checkpoints; several devices look at the clock a hundred times a stage only.
        steps: also every so many optimizer steps.
    """

    seconds: float = 60.0
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.seconds <= 0 or (self.steps is not None and self.steps < 1):
            raise UserError(f"checkpoints: seconds {self.seconds} and steps {self.steps} must be positive")


@dataclass(frozen=True)
class Cluster:
    """What nodes are executed on where `launcher` is `ray` or `slurm`.

    Args:
        address: of a running Ray cluster: `auto`, or HOST:PORT; by default one is started on this machine and ends with
            the command.
        workers: nodes at a time on a Ray cluster that is started here; by default as many as there are cores.
        cpus: cores of each process of a node, and its threads. On one kind of machine a result is bit for bit that of
            the local launcher with as many threads.
        retries: how often a node is computed again whose worker died, or whose job was preempted or ran out of time.
        minutes: time limit of a Slurm job.
        slurm: what Slurm is told besides, as submitit names it: `partition`, `account`, `qos`, `mem`, `constraint`,
            `setup`, `additional_parameters` ...
    """

    address: str | None = None
    workers: int | None = None
    cpus: int = 1
    retries: int = 3
    minutes: int = 24 * 60
    slurm: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("cpus", 1), ("retries", 0), ("minutes", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"cluster.{name}: {value} must be at least {least}")
        if self.workers is not None and self.address is not None:
            raise UserError(f"cluster.workers: {self.workers} has no effect on a cluster with an address; remove it")


@dataclass(frozen=True)
class Tracking:
    """Where runs are logged.

    Args:
        uri: MLflow tracking URI; by default a SQLite file in the store; `none` switches tracking off.
    """

    uri: str | None = None
