"""A recorded run is the one that the recursion describes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl.methods.method import Method
from cl.sample_order import trace_recorder
from cl.sample_order.optimizer_replay import simulate
from strategies.schedules.rewarm import RewarmCosine
from tests.support.sample_order import relative, toy_stream

BATCHES = 5
OTHERS = [(2, 0, 4, 1, 3), (1, 3, 0, 4, 2), (3, 4, 1, 0, 2), (4, 0, 3, 2, 1)]


@pytest.mark.parametrize("methods", [[], [RewarmCosine()]])
@pytest.mark.parametrize("train", [{}, {"clip": 0.3, "weight_decay": 0.5}, {"micro_batch": 2}])
def test_the_recursion_with_true_gradients_is_the_real_run(methods: list[Method], train: dict[str, Any]) -> None:
    stream = toy_stream(BATCHES, methods=methods, **train)
    start = stream.read()

    def true(position: int, batches: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
        return torch.stack([stream.gradient(int(b), x)[1] for b, x in zip(batches, gamma, strict=True)])

    for order in [(0, 1, 2, 3, 4), *OTHERS[:1]]:
        found = simulate(start, torch.tensor([order]), trace_recorder.update_of(stream), true)
        # Key biases have no gradient but rounding, which Adam makes a step of: that is all the difference there is.
        assert relative(stream, found.theta[0], order, start) < 2e-3
