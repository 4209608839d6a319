"""What probes of inserted items share: ages and likelihoods by hand, and settings beside the method's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cl.data.insertion import Design
from cl.errors import UserError
from cl.models.forward import TokenLoss
from cl.probes import inserted
from cl.probes.probe import History, State, Stretch
from cl.registry import Named
from tests.support.training import VOCABULARY, tiny

DESIGN = Design("canaries", (1, 3), phases=2, stages=(1, 3), items=2, tokens=6)
HISTORY = History(5, (Stretch(1, 10, 100), Stretch(2, 4, 40), Stretch(3, 5, 50)))


@pytest.mark.parametrize(
    ("history", "phase", "expected"),
    [
        (HISTORY, 1, 50 + 40 + 50),
        (HISTORY, 2, 0 + 40 + 50),
        (HISTORY, 3, 20),  # 3 of 5 steps are of the phase: ceil(2.5)
        (HISTORY, 4, 0),
        (History(5, HISTORY.stages[:2]), 3, None),  # has not come
        (History(5), 1, None),
        (History(5, (Stretch(1, 10, 100), Stretch(2, 4, None))), 1, None),  # rows of answers differ in length
        (History(5, (Stretch(1, 10, 100), Stretch(1, 4, 40))), 2, 40),  # a stage that aligns has the same number
    ],
)
def test_the_age_of_a_phase_by_hand(history: History, phase: int, expected: int | None) -> None:
    assert inserted.age(history, DESIGN, phase) == expected


def test_log_probabilities_are_those_of_each_token() -> None:
    model = tiny().eval()
    rows = np.random.default_rng(0).integers(1, VOCABULARY, (5, 7))
    found = inserted.log_probabilities(State(TokenLoss(model, 0, True), Path("unused"), "cpu", 3), rows)
    with torch.no_grad():
        logits = model(input_ids=torch.from_numpy(rows[:, :-1])).logits.log_softmax(-1)
    expected = logits.gather(2, torch.from_numpy(rows[:, 1:, None]))[:, :, 0]
    torch.testing.assert_close(found, expected)


def test_a_strategy_inserts_what_is_measured_or_nothing() -> None:
    own = {"items": 2, "levels": [1]}
    inserted.check_settings(own, [Named("their_own:Insertion", {"depth": 3})], apart=True)  # another method
    inserted.check_settings(own, [Named("lora", {"items": 9})], apart=True)
    inserted.check_settings(own, [Named("insertion", own | {"share": 0.1})], apart=False)
    for name in ("insertion", "strategies.data.insertion:Insertion"):
        with pytest.raises(UserError, match=r"items: 2 differs from .*nsertion\.items: 3; make them equal"):
            inserted.check_settings(own, [Named(name, {"items": 3, "levels": [1]})], apart=False)
    with pytest.raises(UserError, match="with an adapter of its own"):
        inserted.check_settings(own, [Named("insertion", own)], apart=True)
