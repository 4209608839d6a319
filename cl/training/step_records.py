"""Records of optimizer steps (`Learner.last`) between two points of a curve: their means, their form in a checkpoint.

A record has the loss (None if no row was left for it), the further terms by name, the gradient norm, and the rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cl.errors import DivergedError


def summarise(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Average records of optimizer steps into fields of a `Point`.

    A loss or term is averaged over the steps that have it: a step may have no row left for the task loss.

    Returns:
        Mean loss (None if no step has one), learning rate of the last step, mean gradient norm, and each term's mean
        with its ratio to the loss as `NAME/ratio`. Empty without steps.
    """
    if not steps:
        return {}
    mean: Callable[[list[Tensor]], float] = lambda values: float(torch.stack(values).mean())  # noqa: E731
    of_task = [step["loss"] for step in steps if step["loss"] is not None]
    loss = mean(of_task) if of_task else None
    terms: dict[str, float] = {}
    for name in dict.fromkeys(name for step in steps for name in step["terms"]):
        value = mean([step["terms"][name] for step in steps if name in step["terms"]])
        terms |= {name: value} | ({f"{name}/ratio": value / loss} if loss is not None else {})
    norm = mean([step["grad_norm"] for step in steps])
    return {"loss": loss, "lr": steps[-1]["lr"], "grad_norm": norm, "terms": terms}


def divergence(steps: Sequence[Mapping[str, Any]], last: int, loss: float | None) -> DivergedError:
    """The error of steps one of which is not finite: the first such step, and the last finite loss before it.

    Args:
        steps: records of the newest steps.
        last: number of the last of them.
        loss: last finite loss before these steps; None: there was none.
    """
    for at, step in enumerate(steps, last - len(steps) + 1):
        found = None if step["loss"] is None else float(step["loss"])
        if not (math.isfinite(found or 0.0) and math.isfinite(float(step["grad_norm"]))):
            return DivergedError(at, loss)
        loss = loss if found is None else found
    return DivergedError(last, loss)


def pack(step: Mapping[str, Any]) -> dict[str, Any]:
    """A record as JSON data; a number of single precision fits exactly."""
    terms = {name: float(value) for name, value in step["terms"].items()}
    loss = None if step["loss"] is None else float(step["loss"])
    return {"loss": loss, "terms": terms, "grad_norm": float(step["grad_norm"]), "lr": step["lr"]}


def unpack(step: Mapping[str, Any], first: bool) -> dict[str, Any]:
    """Inverse of `pack`, of a record that was summed over processes.

    Args:
        step: the data.
        first: whether this is the first process, which gets the sums; the others have nothing to add.
    """
    terms = {name: torch.tensor(value) for name, value in step["terms"].items()} if first else {}
    loss = torch.tensor(step["loss"]) if first and step["loss"] is not None else None
    return {"loss": loss, "terms": terms, "grad_norm": torch.tensor(step["grad_norm"]), "lr": step["lr"]}
