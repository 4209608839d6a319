"""Self-distillation: what is taught where, what is logged, which settings make what, and teachers that agree."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl.data.batches import Batch
from cl.data.rows import IGNORE
from cl.data.sampling import Reading
from cl.errors import UserError
from cl.methods.method import MicroBatch
from cl.models.distillation import Model
from cl.models.losses import Outputs
from strategies.data.knowledge_mixture import KnowledgeMixture
from strategies.distillation.self_distillation import SelfDistillation
from tests.support.methods import token_terms

TEACHER = [2.0, 1.0, 0.0, -1.0]
STUDENT = [1.0, 2.0, 0.5, -0.5]
LSSD, KL = 0.7003002183, 0.4219152477  # of these two, where the true token is 2 (so swapped) and 0


def seen(*gold: int, general: int = 0, student: list[float] = STUDENT) -> MicroBatch:
    """A row of one token for each true token; the last `general` rows are mixed in."""
    rows = len(gold)
    logits = torch.tensor([student] * rows, requires_grad=True)
    targets = torch.tensor(gold)
    origin = torch.tensor([[int(row >= rows - general), row] for row in range(rows)])
    batch = Batch(torch.zeros(rows, 2, dtype=torch.int64), None, origin)
    readings = [Reading.parse("german"), Reading.parse("plain:chat")]
    teacher = Model(Outputs(torch.tensor([TEACHER] * rows), None, targets))
    return MicroBatch(None, batch, 0, Outputs(logits, None, targets), None, readings, lambda: teacher)


def test_the_term_is_the_weighted_mean_over_tokens() -> None:
    assert token_terms(SelfDistillation(0.5), seen(2, 0))["self_distillation"] == pytest.approx(0.5 * (LSSD + KL) / 2)
    plain = SelfDistillation(0.5, target="plain")
    assert token_terms(plain, seen(2, 2))["self_distillation"] == pytest.approx(0.5 * KL)


@pytest.mark.parametrize(("positions", "expected"), [("all", LSSD + KL), ("domain", LSSD), ("general", KL)])
def test_tokens_elsewhere_are_left_alone_but_counted(positions: Any, expected: float) -> None:
    method = SelfDistillation(1.0, positions=positions)
    assert token_terms(method, seen(2, 0, general=1))["self_distillation"] == pytest.approx(expected / 2)


def test_convex_takes_from_the_task_loss_what_it_gives() -> None:
    ce = float(-torch.tensor(STUDENT).log_softmax(-1)[2])
    found = token_terms(SelfDistillation(0.25, combine="convex"), seen(2))["self_distillation"]
    assert found == pytest.approx(0.25 * (LSSD - ce), rel=1e-5)


def test_the_dual_loss_is_cross_entropy_on_the_domain_and_divergence_on_the_rest() -> None:
    dual = SelfDistillation(1.0, target="plain", combine="convex", positions="general")
    ce = -torch.tensor(STUDENT).log_softmax(-1)
    whole = float(ce[2] + ce[0]) / 2 + token_terms(dual, seen(2, 0, general=1))["self_distillation"]
    assert whole == pytest.approx((float(ce[2]) + KL) / 2, rel=1e-5)


def test_figures_are_by_stream_and_since_the_last_time() -> None:
    method = SelfDistillation(1.0)
    token_terms(method, seen(2, 0, 0, general=1))
    token_terms(method, seen(2, 0, 0, general=1))
    found = method.figures()
    assert found["self_distillation/domain/swap_rate"] == 0.5
    assert found["self_distillation/general/swap_rate"] == 0
    assert found["self_distillation/domain/kl"] == pytest.approx(KL)
    assert found["self_distillation/domain/swap"] == pytest.approx((LSSD - KL) / 2, rel=1e-5)
    assert not method.figures()


def test_ignored_tokens_shift_no_stream() -> None:
    at = seen(2, 0, general=1)
    ids = torch.zeros(2, 4, dtype=torch.int64)
    targets = torch.tensor([[IGNORE, 2, IGNORE], [0, IGNORE, IGNORE]])
    padded = MicroBatch(None, Batch(ids, targets, at.batch.origin), 0, at.outputs, at.under, at.readings, at.teacher)
    for positions in ("domain", "general"):
        method = SelfDistillation(1.0, positions=positions)
        assert token_terms(method, padded) == token_terms(method, at)


def test_neutral_is_not_there_at_all() -> None:
    assert not SelfDistillation(weight=0.0).active(1)
    assert SelfDistillation(weight=0.0).validate([])
    assert SelfDistillation().active(1)
    assert not SelfDistillation().validate([])
    assert "nothing of the task loss" in SelfDistillation(1.0, target="plain", combine="convex").validate([])[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": -1.0}, "must be at least 0"),
        ({"weight": 2.0, "combine": "convex"}, "no share of the loss"),
        ({"direction": "reverse", "mode": "cache_sampled"}, "needs all that the teacher says"),
        ({"tau_squared": True}, "no effect at temperature 1"),
        ({"count": 9}, "count: 9 has no effect with mode frozen_copy"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SelfDistillation(**settings)


def test_positions_apart_need_something_mixed_in() -> None:
    SelfDistillation().validate([])
    SelfDistillation(positions="general").validate([KnowledgeMixture({"chat": 0.5})])
    with pytest.raises(UserError, match="positions: general has no effect"):
        SelfDistillation(positions="general").validate([])
