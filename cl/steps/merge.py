"""Compute a merge node: a merge of trained states, which a row of R evaluates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cl.errors import UserError
from cl.graph.roles import BASE, Inputs, Role
from cl.graph.specs import MergeSpec
from cl.methods import strategy
from cl.methods.method import Merges
from cl.models import adapters, classifier_head, pretrained
from cl.steps.context import Context


def run(spec: MergeSpec, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Store the base model plus the method's merge of the task vectors of all parent states.

    A task vector is the difference of a state, with its adapters merged, from the base model, by parameter in fp32. A
    parameter without a difference is left out. All vectors are in memory at once: states + 2 copies of the model.

    Returns:
        `largest`: the largest absolute change of a parameter.

    Raises:
        UserError: for a state with a classifier.
    """
    method = strategy.build_method(spec.method, "merge")
    assert isinstance(method, Merges)
    base = pretrained.load(inputs[BASE])
    start = dict(base.named_parameters())
    places = range(1, spec.states + 1)
    vectors = [_vector(inputs[Role("state", place)], inputs[BASE], start) for place in places]
    added = method.merge(vectors)
    with torch.no_grad():
        for name, value in added.items():
            start[name] += value
    pretrained.save(base, context.out)
    return {"largest": max((float(value.abs().max()) for value in added.values()), default=0.0)}


def _vector(state: Path, base: Path, start: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The task vector of a stored state. Raises UserError for a state with a classifier."""
    found = adapters.merged(adapters.load(state, base))
    if classifier_head.of(found) is not None:
        raise UserError("merge: the model's classifier cannot be merged; take the merging method or the classifier out")
    pairs = ((name, value.detach(), start[name].detach()) for name, value in found.named_parameters())
    return {name: value - before for name, value, before in pairs if not torch.equal(value, before)}
