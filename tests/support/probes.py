"""Probes of a user's own, named in tests as `tests.support.probes:NAME`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from cl.data.batches import collate
from cl.errors import UserError
from cl.probes.probe import Data, Measure, Probe, State


@dataclass(frozen=True)
class FirstRow(Probe):
    """Loss of the first row of each set in nats, times a factor."""

    factor: float = 1.0

    kinds: ClassVar[tuple[str, ...]] = ("text",)
    measures: ClassVar[tuple[Measure, ...]] = (Measure("nll", "lower", "nats", "Loss of the first row."),)

    def __post_init__(self) -> None:
        if self.factor < 0:
            raise UserError(f"factor: {self.factor} must be at least 0")

    def measure(self, state: State, data: Data) -> dict[str, dict[str, float]]:
        assert not state.loss.model.training
        found = {}
        for name in data.folders:
            batch = collate([data.rows(name, data.split)[0]], state.loss.separator).to(state.device)
            with torch.no_grad():
                found[name] = {"nll": self.factor * float(state.loss.total(batch))}
        return found


@dataclass(frozen=True)
class Moved(Probe):
    """Difference of the losses of the first row between the state and the base model, of all sets of R."""

    kinds: ClassVar[tuple[str, ...]] = ("text", "instruction")
    measures: ClassVar[tuple[Measure, ...]] = (Measure("rise", "lower", "nats", "Rise of the loss.", apart=True),)
    needs_base: ClassVar[bool] = True
    reads_outside: ClassVar[bool] = True

    def measure(self, state: State, data: Data) -> dict[str, dict[str, float]]:
        assert state.base is not None
        own, base = (FirstRow().measure(each, data) for each in (state, replace(state, loss=state.base)))
        return {name: {"rise": own[name]["nll"] - base[name]["nll"]} for name in own}


class Rise(FirstRow):
    """Difference of the loss from that of row 0, under a name that is no set's, and the seed of the run."""

    reads_history: ClassVar[bool] = True

    def references(self) -> tuple[int, ...]:
        return (0,)

    def measure(self, state: State, data: Data) -> dict[str, dict[str, float]]:
        assert state.history is not None
        now, before = (super(Rise, self).measure(each, data) for each in (state, state.references[0]()))
        return {
            f"rise of {name}": {"nll": now[name]["nll"] - before[name]["nll"], "seed": state.history.seed}
            for name in now
        }


@dataclass(frozen=True)
class Unfinished(Probe):
    """A probe without `measures` and `measure`."""

    kinds: ClassVar[tuple[str, ...]] = ("text",)


class Plain(Probe):
    """A probe that is no dataclass, so its settings cannot be seen."""


class Hidden(FirstRow):
    """A probe whose constructor has a setting that is no field."""

    def __init__(self, power: float = 1.0) -> None:
        super().__init__(power)


@dataclass(frozen=True)
class Other:
    """A dataclass that is no probe."""
