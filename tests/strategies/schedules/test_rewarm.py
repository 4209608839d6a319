"""Constant and RewarmCosine: the hook's values by hand, and settings that are refused or degenerate."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cl.errors import UserError
from cl.methods.method import Method, Progress, Trains
from strategies.schedules.rewarm import Constant, RewarmCosine


@pytest.mark.parametrize(
    ("method", "step", "factor"),
    [
        (Constant(), 0, 1.0),
        (Constant(ratio=0.1), 57, 0.1),
        (Constant(ratio=0.5, warmup=0.1), 0, 0.05),  # max(1, 0) / 10 of .5
        (Constant(ratio=0.5, warmup=0.1), 4, 0.2),
        (Constant(ratio=0.5, warmup=0.1), 10, 0.5),
        (RewarmCosine(warmup=0.1, floor=0.2), 5, 0.5),
        (RewarmCosine(warmup=0.1, floor=0.2), 10, 1.0),
        (RewarmCosine(warmup=0.1, floor=0.2), 55, 0.6),  # half-way down
        (RewarmCosine(warmup=0.1, floor=0.2), 100, 0.2),
        (RewarmCosine(warmup=0.0, floor=0.0), 0, 1.0),
    ],
)
def test_factor(method: Trains, step: int, factor: float) -> None:
    for t in (1, 2):  # every stage starts anew
        assert method.schedule(Progress(step, 100, t)) == pytest.approx(factor)


def test_tasks_decide_where_a_schedule_acts() -> None:
    assert [Constant(tasks="first").active(t) for t in (1, 2, 3)] == [True, False, False]
    assert [RewarmCosine(tasks="later").active(t) for t in (1, 2, 3)] == [False, True, True]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Constant(ratio=-0.1), "ratio: -0.1"),
        (lambda: Constant(warmup=1.5), "warmup: 1.5"),
        (lambda: RewarmCosine(warmup=-0.01), "warmup: -0.01"),
        (lambda: RewarmCosine(floor=2), "floor: 2"),
    ],
)
def test_bad_settings(build: Callable[[], Method], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()


def test_degenerate_settings_are_said() -> None:
    assert Constant(ratio=0).validate([]) == ["ratio 0 leaves the model as it is"]
    assert RewarmCosine(floor=1).validate([]) == ["floor 1 never decays, equivalent to constant"]
    assert not Constant().validate([]) + RewarmCosine().validate([])
