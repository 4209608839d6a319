"""DER++: the gap of logits by hand, what is kept of a row, and how it is found again."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from cl.data.batches import Batch
from cl.data.rows import IGNORE
from cl.errors import UserError
from cl.models.losses import Outputs
from strategies.rehearsal.der import DER, logit_gap
from tests.support.methods import learned_of, step_of


def test_gap_by_hand() -> None:
    weight = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])  # [V = 3, D = 2]
    hidden, then = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    # moved (1, -1): logits move by (1, -2, 0), squares sum to 5; the other token did not move
    assert float(logit_gap(hidden, then, weight.T @ weight)) == 2.5


def test_gap_equals_that_of_the_logits_in_value_and_gradient() -> None:
    chance = torch.Generator().manual_seed(0)
    weight, hidden, then = (torch.randn(n, 6, generator=chance, dtype=torch.float64) for n in (40, 9, 9))
    hidden.requires_grad_()
    plain = ((hidden - then) @ weight.T).square().sum(-1).mean()
    found = logit_gap(hidden, then, weight.T @ weight)
    torch.testing.assert_close(found, plain)
    torch.testing.assert_close(torch.autograd.grad(found, hidden)[0], torch.autograd.grad(plain, hidden)[0])


WEIGHT = torch.eye(2)


def batch(row: int, *targets: int) -> Batch:
    return Batch(torch.zeros(1, len(targets) + 1, dtype=torch.int64), torch.tensor([targets]), torch.tensor([[0, row]]))


def outputs(shift: float) -> Any:
    """Hidden states (target + shift, 0) of each learned token."""

    def of(rows: Batch) -> Outputs:
        assert rows.targets is not None
        wanted = rows.targets[rows.targets != IGNORE]
        hidden = torch.stack([wanted + shift, torch.zeros(len(wanted))], 1).requires_grad_()
        return Outputs(hidden, WEIGHT, wanted)

    return of


def memory(tasks: tuple[str, ...] = ("old",), before: dict[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    rows = [batch(7, IGNORE, 1, 0), batch(9, IGNORE, 1)]
    return DER().consolidate(learned_of(nn.Module(), rows, memory=before, outputs=outputs(0.0), tasks=tasks))


def test_what_is_kept_of_a_row() -> None:
    found = memory()
    assert found["old/rows"].tolist() == [7, 9]
    assert found["old/counts"].tolist() == [2, 1]
    assert found["old/hidden"].tolist() == [[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]
    assert sorted(memory(("later",), found)) == sorted(
        f"{task}/{part}" for task in ("old", "later") for part in ("rows", "counts", "hidden")
    )


def test_terms_by_hand() -> None:
    method = DER(alpha=3.0, beta=0.5)
    method.remember(memory())
    taken = batch(9, IGNORE, 1)
    assert taken.origin is not None
    taken.origin[:, 0] = 1  # the reading `replay:old`
    terms = method.step_terms(step_of(nn.Module(), taken=taken, outputs=outputs(2.0)))
    assert float(terms["der/logits"].detach()) == 3.0 * 4.0 / 2  # moved by (2, 0), over 2 words
    # logits (3, 0), the target is word 1: ln(e^3 + 1)
    assert float(terms["der/replay"].detach()) == pytest.approx(0.5 * 3.0485873516, rel=1e-6)


def test_beta_zero_is_der_and_alpha_zero_is_replay_without_logits() -> None:
    taken = batch(9, IGNORE, 1)
    for settings, names in (({"beta": 0.0}, ["der/logits"]), ({"alpha": 0.0}, ["der/replay"])):
        method = DER(**settings)
        method.remember(memory())
        step = step_of(nn.Module(), taken=taken, outputs=outputs(2.0), readings=("replay:old",))
        assert list(method.step_terms(step)) == names
    assert DER(alpha=0.0, beta=0.0).validate([])


def test_a_step_that_replays_nothing_has_no_terms() -> None:
    assert DER().step_terms(step_of(nn.Module())) == {}


def test_a_trained_output_layer_is_refused() -> None:
    method = DER()
    method.remember(memory())
    trained: Any = lambda rows: outputs(0.0)(rows)._replace(weight=nn.Parameter(WEIGHT))  # noqa: E731
    with pytest.raises(UserError, match="der: needs a plain output layer that is not trained; use lora"):
        method.step_terms(step_of(nn.Module(), taken=batch(9, IGNORE, 1), outputs=trained, readings=("replay:old",)))


def test_a_task_that_was_not_learned_here_has_no_outputs() -> None:
    step = step_of(nn.Module(), taken=batch(9, IGNORE, 1), outputs=outputs(0.0), readings=("replay:old",))
    with pytest.raises(UserError, match="der: no outputs of old are kept, it was not learned here"):
        DER().step_terms(step)


@pytest.mark.parametrize("settings", [{"alpha": -1.0}, {"beta": -0.1}])
def test_meaningless_settings_are_refused(settings: Any) -> None:
    with pytest.raises(UserError, match="must be at least 0"):
        DER(**settings)
