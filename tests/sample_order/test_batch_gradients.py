"""A batch's gradient as a function of the parameters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cl.errors import UserError
from cl.methods.edits_rows import EditsRows
from cl.methods.method import MicroBatch, PlansStages, Step, TakesRows, Teaching, Trains
from cl.models.losses import Criterion
from cl.sample_order import trace_recorder
from cl.sample_order.optimizer_replay import simulate
from tests.support.methods import Half, Names
from tests.support.sample_order import relative, toy_stream
from tests.support.training import Anchor

OTHERS = [(2, 0, 4, 1, 3), (1, 3, 0, 4, 2), (3, 4, 1, 0, 2), (4, 0, 3, 2, 1)]


def test_dropout_belongs_to_a_batch(tmp_path: Path) -> None:
    stream = toy_stream(dropout=0.5)
    start = stream.read()
    (first, one), (second, other) = stream.gradient(1, start), stream.gradient(1, start)
    assert first == second
    assert torch.equal(one, other)
    assert stream.gradient(2, start)[0] != stream.gradient(1, start)[0]

    def true(position: int, batches: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
        return torch.stack([stream.gradient(int(b), x)[1] for b, x in zip(batches, gamma, strict=True)])

    found = simulate(start, torch.tensor([OTHERS[0]]), trace_recorder.update_of(stream), true)
    assert relative(stream, found.theta[0], OTHERS[0], start) < 2e-3  # the learner's own dropout is the same


def test_looking_leaves_the_generators_alone() -> None:
    stream = toy_stream(dropout=0.5)
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    stream.gradient(0, stream.read())
    assert torch.equal(torch.rand(1), expected)


class Penalty(Trains):
    def token_terms(self, batch: MicroBatch) -> dict[str, Criterion]:
        return {}


class Steps(Trains):
    def after_step(self, at: Step) -> None:
        pass


class Taught(Trains, PlansStages):
    def teaching(self, t: int) -> Teaching | None:
        return None


@pytest.mark.parametrize(
    ("method", "hook"),
    [
        (Penalty(), "token_terms"),
        (Anchor(), "step_terms"),
        (Steps(), "after_step"),
        (Names(Half()), "objective"),
        (TakesRows(), "row_mask"),
        (EditsRows(), "replaced_rows"),
        (Taught(), "teaching"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_method_that_acts_beside_a_step_s_own_batch_is_refused(method: Trains, hook: str) -> None:
    name = type(method).__name__
    with pytest.raises(UserError, match=rf"{name} acts on more than a step's own batch \({hook}\)"):
        toy_stream(methods=[method])
