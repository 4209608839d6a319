"""Settings of the bank; what it computes is in test_bank.py and tests/steps/test_amortise.py."""

from __future__ import annotations

from typing import Any

import pytest

from cl.errors import UserError
from strategies.memory.bank import Bank
from strategies.memory.mac_lite import MacLite


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps: 0 must be at least 1"),
        ({"top_k": 0}, "top_k: 0 must be at least 1"),
        ({"lr": 0.0}, "lr: 0.0 must be above 0"),
        ({"prefix": 0}, "inner, vectors, prefix: 128, 8, 0 must be at least 1"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        MacLite("meta", **settings)


def test_the_network_has_the_sizes_of_the_settings() -> None:
    network = MacLite("meta", inner=16, vectors=3, prefix=5).network(24, 0.1)
    assert isinstance(network, Bank)
    assert network.document.queries.shape == (3, 16)
    assert network.question.queries.shape == (5, 16)
    assert float(network.scale.detach()) == pytest.approx(0.1)
