"""Execute a merge node: the model that a row of R evaluates where a strategy merges what it learned."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cl.errors import UserError
from cl.methods.method import Method
from cl.models import adapters, classifier_head, pretrained


def merge(spec: Mapping[str, Any], inputs: Mapping[str, Path], method: Method, out: Path) -> dict[str, Any]:
    """Store the base model plus what the method makes of the task vectors of the parents `state/1`, `state/2`, ….

    A task vector is how a state, its adapters merged, differs from the base model, in fp32 and by parameter; one that
    does not differ is left out. All are held at once: states + 2 copies of the model in memory. Returns the largest
    entry of what was added.
    """
    base = pretrained.load(inputs["base"])
    start = dict(base.named_parameters())
    vectors = [_vector(inputs[f"state/{place}"], inputs["base"], start) for place in range(1, spec["states"] + 1)]
    added = method.merge(vectors)
    with torch.no_grad():
        for name, value in added.items():
            start[name] += value
    pretrained.save(base, out)
    return {"largest": max((float(value.abs().max()) for value in added.values()), default=0.0)}


def _vector(state: Path, base: Path, start: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The task vector of a stored state."""
    found = adapters.merged(adapters.load(state, base))
    if classifier_head.of(found) is not None:
        raise UserError("merge: a classifier (seq_star) cannot be merged; take one of the two methods out")
    pairs = ((name, value.detach(), start[name].detach()) for name, value in found.named_parameters())
    return {name: value - before for name, value, before in pairs if not torch.equal(value, before)}
