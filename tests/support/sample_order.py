"""Small things to reorder: quadratic losses with known gradients, and a toy language model with a few batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cl.config.train import Train
from cl.data.batches import Batch
from cl.sample_order import trace_recorder
from cl.sample_order.batch_gradients import Stream
from cl.sample_order.grid import Grid, Supports, Trace, differences
from cl.sample_order.optimizer_replay import Gradient, Update, simulate, step
from cl.training.learner import Learner

Order = tuple[int, ...]


class Quadratic:
    """Batches whose losses are 1/2 theta A_b theta - c_b theta, so that every gradient is known: A_b theta - c_b."""

    def __init__(self, batches: int = 5, size: int = 4, same: bool = False, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        root = torch.randn(batches, size, size, generator=generator)
        self.a, self.c = root @ root.transpose(1, 2) / size, torch.randn(batches, size, generator=generator)
        if same:
            self.a, self.c = self.a[:1].expand(batches, -1, -1), self.c[:1].expand(batches, -1)
        self.start = torch.randn(size, generator=generator)
        self.batches, self.size = batches, size

    def gradient(self, position: int, batches_S: Tensor, theta_SP: Tensor) -> Tensor:
        """The true one."""
        return torch.einsum("spq,sq->sp", self.a[batches_S], theta_SP) - self.c[batches_S]

    def update(self, kind: Any, rate: float, **settings: Any) -> Update:
        """Constant rate, no decay, one start."""
        steps, zeros = self.batches, torch.zeros(self.size)
        return Update(kind, (rate,) * steps, (True, *(False,) * (steps - 1)), zeros, zeros + 1, **settings)

    def trace(self, order: Order, update: Update, gradient: Gradient | None = None) -> Trace:
        """A run in an order."""
        points: list[Tensor] = []
        end = simulate(
            self.start,
            torch.tensor([order]),
            update,
            gradient or self.gradient,
            lambda _, x: points.append(x[0].clone()),
        )
        return Trace(order, tuple(range(len(order) + 1)), torch.stack([*points, end.theta[0]]).numpy())

    def grid(self, update: Update, orders: Sequence[Order]) -> Grid:
        """The grid of reference runs in these orders, without targets."""
        supports = Supports.of([self.trace(order, update) for order in orders])
        points = torch.stack([supports.point(i) for i in range(len(supports.places))])
        raw = torch.stack([self.gradient(0, torch.full((len(points),), b), points) for b in range(self.batches)])
        columns = raw.numpy().astype(np.float32)
        differences(columns, supports)
        return Grid(supports, columns, np.zeros((len(points), self.batches)), self.batches, 0)

    def star(self, batch: int, update: Update) -> Trace:
        """One step of a batch from the start."""
        state = update.begin(self.start[None])
        step(update, state, 0, self.gradient(0, torch.tensor([batch]), self.start[None]))
        return Trace((batch,), (0, 1), torch.stack([self.start, state.theta[0]]).numpy())


def ends(of: Quadratic, update: Update, orders: Sequence[Order]) -> Tensor:
    """Where real runs end, [S, P]."""
    return simulate(of.start, torch.tensor(orders), update, of.gradient).theta


def toy_stream(
    batches: int = 5, lr: float = 1e-3, methods: Sequence[Any] = (), dropout: float = 0.0, **train: Any
) -> Stream:
    """A tiny GPT-NeoX with batches of random tokens and one target."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "gpt_neox", hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, vocab_size=20,
        max_position_embeddings=32, hidden_dropout=dropout, bos_token_id=0, eos_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").float()
    settings = Train(**({"lr": lr, "sequence": 8, "batch": 4, "precision": "fp32", "compile": False} | train))
    learner = Learner(model, settings, methods, separator=0, total=batches)
    generator = torch.Generator().manual_seed(1)
    rows = [
        Batch(torch.randint(1, 4 * (b + 2) if b < 4 else 20, (4, 9), generator=generator), None)
        for b in range(batches + 1)
    ]
    return Stream([(learner, batches)], rows[:batches], {"val": rows[batches:]}, seed=3)


def relative(stream: Stream, found: torch.Tensor, order: Any, start: torch.Tensor) -> float:
    """Error of an end, relative to how far it is from the start."""
    true = torch.from_numpy(trace_recorder.record(stream, order, start).points[-1].copy())
    stream.write(start)
    return float((found - true).norm() / (true - start).norm())
