"""A learner on toy rows, outside nodes: plain Lightning, and one step by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from cl.config.train import Train
from cl.data.batches import Batch
from cl.methods.method import Trains
from cl.training.learner import Learner
from tests.support.training import SEPARATOR, Anchor, tiny


class Journal(pl.Callback):
    """What the learner left after each step, and the norm of the clipped gradient."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.clipped: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.steps.append(dict(pl_module.last))
        gradients = [p.grad.flatten() for p in pl_module.parameters() if p.grad is not None]
        self.clipped.append(float(torch.cat(gradients).norm()))

    def of(self, name: str) -> list[float]:
        return [float(step[name]) for step in self.steps]


def learner(methods: Sequence[Trains] = (), total: int = 8, model: Any = None, **settings: Any) -> Learner:
    train = Train(**{"lr": 1e-2, "batch": 8, **settings})
    return Learner(model or tiny(), train, methods, separator=SEPARATOR, total=total)


def fit(module: Learner, rows: torch.Tensor, precision: Any = "32-true") -> Journal:
    """Plain Lightning, outside the orchestrator: each batch of the loader is one optimizer step."""
    journal = Journal()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, precision=precision, logger=False, callbacks=[journal],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    as_batch: Any = lambda chosen: Batch(torch.stack(chosen), None)  # noqa: E731
    trainer.fit(module, DataLoader(rows, batch_size=module.settings.batch, collate_fn=as_batch))
    return journal


def gradients(module: Learner, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and gradient of one step before clipping, as one vector."""
    module.zero_grad()
    module.manual_backward = torch.Tensor.backward  # type: ignore[method-assign]
    loss, _ = module._accumulate(Batch(rows, None))
    assert loss is not None
    module._per_step(None)
    return loss, torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


def state(module: Learner) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.model.state_dict().items()}


def assert_close_without_drift(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    """Differences within `tolerance` of the largest value, and not all to one side."""
    residual = (found - expected) / expected.abs().max()
    assert residual.abs().max() < tolerance
    assert residual.mean().abs() < tolerance / 10


def anchored(weight: float, rows: torch.Tensor) -> tuple[Learner, Anchor, Journal]:
    module = learner([method := Anchor(weight)])
    method.prepare(module.model, 1)
    return module, method, fit(module, rows)
