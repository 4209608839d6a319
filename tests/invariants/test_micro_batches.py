"""A batch in parts is the batch whole: 8 x 1 equals 1 x 8."""

from __future__ import annotations

import pytest
import torch

from tests.support.learner import assert_close_without_drift, gradients, learner
from tests.support.training import tiny, token_rows


@pytest.mark.parametrize("micro_batch", [1, 2, 4, 8])
@pytest.mark.parametrize("name", ["llama-tiny", "neox-tiny"])
def test_eight_times_one_is_one_times_eight(name: str, micro_batch: int) -> None:
    rows = token_rows(8)
    loss, gradient = gradients(learner(model=tiny(name)), rows)
    loss_m, gradient_m = gradients(learner(model=tiny(name), micro_batch=micro_batch), rows)
    torch.testing.assert_close(loss_m, loss, rtol=1e-6, atol=0)
    assert_close_without_drift(gradient_m, gradient, 1e-6)
