"""Settings of training."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from cl.errors import UserError
from cl.plain_values import require_between

MOST_ROWS, MOST_TOKENS = 1_000_000, 10_000_000
"""Rows of a step and tokens of a row; no machine holds more at a time."""


Optimizer = Literal["adamw", "adamw_8bit", "muon", "schedule_free", "sgd"]
Attention = Literal["auto", "sdpa", "varlen", "flex", "flash"]


@dataclass(frozen=True)
class Optimization:
    """Settings of training that enter node keys: see `Train`. `optimizer` is None for AdamW."""

    lr: float = 1e-3
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    clip: float = 1.0
    sequence: int = 256
    batch: int = 8
    micro_batch: int | None = None
    boundaries: bool = True
    gradient_checkpointing: bool = False
    optimizer: Optimizer | None = None
    embedding_lr: float | None = None
    packing: bool = False


@dataclass(frozen=True)
class Train(Optimization):
    """How every stage is trained. Methods may change the learning rate and add terms to the loss.

    Args:
        lr: peak learning rate; schedules multiply it.
        weight_decay: weight decay, on matrices only (norms and biases are not decayed).
        betas: betas of AdamW (arXiv 2403.08763, section 3: 0.9, 0.95); the first one is the momentum of SGD.
        eps: epsilon of AdamW.
        clip: largest global gradient norm.
        sequence: tokens per row.
        batch: rows per optimizer step.
        micro_batch: rows per forward pass; by default the whole batch. It changes the loss by no more than rounding.
        boundaries: keep attention and positions inside documents; false: documents are only separated by a token.
        packing: pack the examples of a forward pass into rows of `sequence` tokens, isolated like documents. The
            examples of a step, its loss and its gradient are the same up to rounding.
        attention: what computes attention inside documents. `sdpa`: with a dense mask; `varlen`: document by document,
            on a CPU; `flex`: FlexAttention, `flash`: FlashAttention, on a GPU; `auto`: see
            `cl.models.precision.attention`.
        precision: `fp32`, `bf16` (autocast) or `auto`: bf16 on a GPU that supports it or a CPU with AMX.
        compile: use torch.compile; `auto`: only if it saves time (see `cl.models.precision.resolve`).
        device: `cpu`, `cuda` or `auto`.
        gradient_checkpointing: recompute activations in the backward pass to save memory.
        embedding_lr: factor on the rate of input embeddings and output layer, such as 0.1. None: 1.
        optimizer: `adamw`; `adamw_8bit`: moments of 8 bits; `muon`: on the matrices of layers, with AdamW on the rest;
            `schedule_free`: AdamW whose average is measured and stored; `sgd`, with momentum. See
            `cl.training.optimizer`.
        devices: number of devices of a machine that train a stage together, one process per device. It changes
            results by no more than rounding, and no node key. Everything except training uses one device.
        nodes: number of machines that train a stage together, each with `devices` processes; with the launchers `slurm`
            and `ray` and a store in a folder that all machines share. In no node key either.
        distributed: `ddp`: each device holds the whole model; `fsdp`: each device holds a shard of the model.
    """

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool | Literal["auto"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    nodes: int = 1
    distributed: Literal["ddp", "fsdp"] = "ddp"
    optimizer: Optimizer = "adamw"
    attention: Attention = "auto"

    @property
    def processes(self) -> int:
        """Number of processes, on all machines, that train a stage together."""
        return self.devices * self.nodes

    @property
    def optimization(self) -> Optimization:
        """The settings that enter node keys as they are; `cl.graph.specs.Compute` holds the resolved ones."""
        found = {each.name: getattr(self, each.name) for each in fields(Optimization)}
        return Optimization(**found | {"optimizer": None if self.optimizer == "adamw" else self.optimizer})

    def __post_init__(self) -> None:
        require_between(self, "train", nodes=(1, MOST_ROWS))
        if self.devices < 1 or self.batch % self.processes:
            many = f"{self.devices}" if self.nodes == 1 else f"{self.devices} on each of train.nodes = {self.nodes}"
            raise UserError(f"train.devices: {many} does not divide train.batch = {self.batch}")
        rows = self.batch // self.processes
        if self.micro_batch is not None and (self.micro_batch < 1 or rows % self.micro_batch):
            each = "" if self.processes == 1 else f" / {self.processes} devices"
            raise UserError(f"train.micro_batch: {self.micro_batch} does not divide train.batch = {self.batch}{each}")
        if self.weight_decay < 0 or not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"train: weight_decay {self.weight_decay} must be >= 0, betas {self.betas} in [0, 1)")
        for name in ("lr", "eps", "clip", "sequence", "batch", "embedding_lr"):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise UserError(f"train.{name}: {getattr(self, name)} must be positive")
        require_between(self, "train", sequence=(1, MOST_TOKENS), batch=(1, MOST_ROWS))
