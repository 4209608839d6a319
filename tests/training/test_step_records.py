"""Records of steps: means, what a divergence tells, and the way through a checkpoint."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

from cl.training.step_records import divergence, pack, summarise, unpack


def record(loss: float | None, norm: float = 1.0) -> dict[str, Any]:
    value = None if loss is None else torch.tensor(loss)
    return {"loss": value, "grad_norm": torch.tensor(norm), "lr": 0.1, "terms": {"anchor": torch.tensor(0.1)}}


def test_a_point_is_the_mean_over_its_steps() -> None:
    steps = [
        {"loss": torch.tensor(2.0), "grad_norm": torch.tensor(1.0), "lr": 0.1, "terms": {"anchor": torch.tensor(0.5)}},
        {"loss": torch.tensor(4.0), "grad_norm": torch.tensor(3.0), "lr": 0.2, "terms": {"anchor": torch.tensor(1.0)}},
    ]
    expected = {"loss": 3.0, "lr": 0.2, "grad_norm": 2.0, "terms": {"anchor": 0.75, "anchor/ratio": 0.25}}
    assert summarise(steps) == expected
    assert summarise([]) == {}


@pytest.mark.parametrize(
    ("steps", "step", "loss"),
    [
        ([record(2.0), record(1.5), record(math.nan)], 10, 1.5),
        ([record(2.0), record(1.5, norm=math.inf), record(math.nan)], 9, 2.0),
        ([record(math.inf), record(math.nan)], 9, 3.0),
        ([record(None), record(None, norm=math.nan)], 10, 3.0),
    ],
)
def test_a_divergence_names_the_first_such_step_and_the_loss_before(
    steps: list[dict[str, Any]], step: int, loss: float
) -> None:
    found = divergence(steps, 10, 3.0)
    assert (found.step, found.loss) == (step, loss)


def test_a_checkpoint_changes_no_bit_of_a_record() -> None:
    steps = [record(1 / 3), record(None), record(0.1)]
    there = [unpack(json.loads(json.dumps(pack(step))), first=True) for step in steps]
    assert summarise(there) == summarise(steps)
    beside = unpack(pack(steps[0]), first=False)  # another process, whose part is in the sum
    assert (beside["loss"], beside["terms"]) == (None, {})
