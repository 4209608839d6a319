"""The moving average against its recursion."""

from __future__ import annotations

import pytest
import torch

from cl.errors import UserError
from strategies.merging.ema import EMA, weights


@pytest.mark.parametrize(
    ("beta", "states", "expected"),
    [(0.5, 1, [1.0]), (0.5, 2, [0.5, 0.5]), (0.75, 3, [0.5625, 0.1875, 0.25]), (0.0, 3, [0.0, 0.0, 1.0])],
)
def test_weights_by_hand(beta: float, states: int, expected: list[float]) -> None:
    assert weights(beta, states).tolist() == expected


def test_it_is_the_recursion_on_the_states() -> None:
    base, states = torch.tensor([[10.0, -1.0]]), [torch.tensor([[11.0, float(t**2)]]) for t in (1, 2, 3, 4)]
    mean = states[0]
    for state in states[1:]:
        mean = 0.25 * mean + 0.75 * state
    added = EMA(beta=0.25).merge([{"a": state - base} for state in states])
    torch.testing.assert_close(base + added["a"], mean)


def test_what_a_state_did_not_change_counts_as_the_base_model() -> None:
    assert EMA(beta=0.75).merge([{}, {"a": torch.tensor([4.0])}])["a"].tolist() == [1.0]


def test_neutral_merges_nothing() -> None:
    assert not any(EMA(beta=0.0).merges(states) for states in (1, 2, 3))
    assert [EMA().merges(states) for states in (1, 2)] == [False, True]
    assert EMA(beta=0.0).validate([]) == ["beta 0 evaluates the newest state, as without it"]
    assert not EMA().validate([])


@pytest.mark.parametrize("beta", [-0.1, 1.0])
def test_meaningless_settings_are_refused(beta: float) -> None:
    with pytest.raises(UserError, match=f"beta: {beta} must be at least 0 and below 1"):
        EMA(beta=beta)
