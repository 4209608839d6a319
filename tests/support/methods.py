"""Contexts of a method's hooks, made by hand: for tests of one method without a learner or a node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from unittest.mock import Mock

import torch

import strategies
from cl import registry
from cl.data.batches import Batch
from cl.data.sampling import Reading
from cl.methods.method import Learned, MicroBatch, Step, Trains
from cl.methods.objective import Objective
from cl.methods.strategy import build_part
from cl.models.losses import Outputs, fused


class Half:
    """An objective of rows: half the squared norm of the output matrix for each row, in micro-batches of pairs."""

    learns_from: tuple[str, ...] = ("text",)
    rows, name = 2, "half"

    def __init__(self) -> None:
        self.sizes: list[int] = []
        """Rows of each micro-batch."""

    def count(self, batch: Batch) -> int:
        return len(batch.ids)

    def total(self, model: Any, outputs: Outputs, batch: Batch) -> torch.Tensor:
        assert len(outputs.targets) == int(batch.learned())
        self.sizes.append(len(batch.ids))
        value: torch.Tensor = len(batch.ids) * 0.5 * model.get_output_embeddings().weight.square().sum()
        return value


class Names(Trains):
    """Names an objective."""

    def __init__(self, own: Objective) -> None:
        self.own = own

    def objective(self) -> Objective:
        return self.own


def step_of(
    model: Any,
    taken: Batch | None = None,
    loss: Callable[[Batch], torch.Tensor] | None = None,
    outputs: Callable[[Batch], Any] | None = None,
    readings: tuple[str, ...] = ("new", "replay:old"),
) -> Step:
    """A first optimizer step of a model; arguments that are not given must not be used."""
    named = tuple(Reading.parse(key) for key in readings)
    return Step(model, 0, taken, named, outputs or Mock(), loss or Mock(), Mock())


def learned_of(
    model: Any,
    rows: Iterable[Any] = (),
    *,
    t: int = 1,
    tensors: Mapping[str, torch.Tensor] | None = None,
    memory: Mapping[str, torch.Tensor] | None = None,
    loss: Callable[[Any], torch.Tensor] | None = None,
    outputs: Callable[[Any], Any] | None = None,
    tasks: tuple[str, ...] = ("task",),
) -> Learned:
    """A stage whose data are these batches, whatever batch size is asked for."""

    def batches(size: int) -> Iterator[Any]:
        yield from rows

    return Learned(model, t, tensors or {}, memory or {}, loss or Mock(), outputs or Mock(), batches, tasks)


def token_terms(method: Trains, seen: MicroBatch, outputs: Outputs | None = None) -> dict[str, float]:
    """Means over tokens of the method's token terms in a micro-batch."""
    terms = method.token_terms(seen)
    values = fused(outputs or seen.outputs, list(terms.values()))[1][1:] / len(seen.outputs.targets)
    return dict(zip(terms, values.tolist(), strict=True))


SETTINGS: dict[str, dict[str, Any]] = {"sft": {"of": "chats"}, "dpo": {"of": "pairs"}}
"""Settings without a default."""


def part(name: str) -> Trains:
    """A shipped method with its default settings."""
    method = build_part(name, SETTINGS.get(name), "test").method
    assert isinstance(method, Trains)
    return method


def training_methods() -> list[str]:
    """Shipped methods that act inside a train node."""
    return [name for name in strategies.METHODS if issubclass(registry.find("methods", name, "test"), Trains)]
