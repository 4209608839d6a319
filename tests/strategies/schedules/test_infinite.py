"""Infinite schedules: factors by hand, and a stream that never continues from an annealed state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cl.errors import UserError
from cl.methods.method import Method, Progress, Stage, Trains
from strategies.schedules.infinite import WSD, InfCosine, InfInvsqrt
from tests.support.training import (
    BATCH,
    SEQUENCE,
    run,
    stage_results,
    weights,
    write_toy,
)


def stream(first: int = 1, last: int = 3) -> list[Stage]:
    return [
        Stage(f"task{t}", {f"task{t}": 1.0}, t, 1000, None if t == first else t - first - 1, t)
        for t in range(first, last + 1)
    ]


@pytest.mark.parametrize(
    ("method", "t", "step", "factor"),
    [
        (InfCosine(), 1, 5, 0.5),
        (InfCosine(), 1, 305, 0.775),  # half-way between 1 and .55
        (InfCosine(), 1, 700, 0.55),
        (InfCosine(), 1, 925, (0.55 * 0.1) ** 0.5),  # half-way in the exponent
        (InfCosine(), 2, 0, 0.55),  # no warm-up, no cool-down
        (InfCosine(), 2, 305, 0.55),
        (InfCosine(), 3, 925, (0.55 * 0.1) ** 0.5),
        (InfInvsqrt(), 1, 305, 1.8562952287 / 3),
        (InfInvsqrt(), 2, 305, 0.55),
        (InfCosine(first=2), 2, 5, 0.5),
        (InfCosine(first=2), 3, 5, 0.55),
        (WSD(), 1, 5, 0.5),
        (WSD(), 1, 800, 1.0),
        (WSD(), 1, 925, 0.5),
        (WSD(), 2, 0, 1.0),
        (WSD(decay="linear", floor=0.2), 2, 950, 0.6),
        (WSD(decay="exponential", floor=0.01), 2, 950, 0.1),
    ],
)
def test_factor(method: Trains, t: int, step: int, factor: float) -> None:
    assert method.schedule(Progress(step, 1000, t)) == pytest.approx(factor, rel=1e-8)


def test_each_task_is_a_trunk_and_a_fork_and_the_next_trunk_follows_the_trunk() -> None:
    found = InfCosine(constant_end=0.8).stages(stream())
    shape = [(s.name, s.t, s.parent, s.row, s.start, s.stop, s.continues) for s in found]
    assert shape == [
        ("task1 trunk", 1, None, None, 0.0, 0.8, False),
        ("task1 anneal", 1, 0, 1, 0.8, 1.0, True),
        ("task2 trunk", 2, 0, None, 0.0, 0.8, False),
        ("task2 anneal", 2, 2, 2, 0.8, 1.0, True),
        ("task3 trunk", 3, 2, None, 0.0, 0.8, False),
        ("task3 anneal", 3, 4, 3, 0.8, 1.0, True),
    ]
    assert {s.total for s in found} == {1000}


def test_another_schedule_goes_on_from_the_annealed_state() -> None:
    found = InfCosine(tasks="first").stages(stream())
    assert [(s.name, s.parent) for s in found] == [
        ("task1 trunk", None),
        ("task1 anneal", 0),
        ("task2", 1),
        ("task3", 2),
    ]


def test_a_pretrained_model_says_where_the_warm_up_is() -> None:
    with pytest.raises(UserError, match=r"first: 1, but stage 'task2' .* set first: 2"):
        InfCosine().stages(stream(first=2))
    found = InfCosine(first=2).stages(stream(first=2))
    assert [(s.t, s.parent) for s in found] == [(2, None), (2, 0), (3, 0), (3, 2)]


def test_two_infinite_schedules_do_not_split_one_stage_twice() -> None:
    with pytest.raises(UserError, match="already split"):
        WSD().stages(InfCosine().stages(stream()))
    both = WSD(tasks="later", first=2).stages(InfCosine(tasks="first").stages(stream()))
    assert [s.parent for s in both] == [None, 0, 1, 2, 2, 4]


def test_nothing_to_anneal_is_no_fork_and_is_said() -> None:
    method = WSD(constant_end=1)
    assert method.stages(stream()) == stream()
    assert method.validate([]) == ["constant_end 1 never anneals"]
    assert not WSD().validate([])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: InfCosine(floor=0), "floor: 0 must be above 0"),
        (lambda: InfCosine(floor=0.6), "at most const 0.55"),
        (lambda: InfCosine(cooldown_end=0.9), "0.01, 0.9, 0.85 must ascend"),
        (lambda: InfCosine(warmup=2), "warmup: 2"),
        (lambda: InfInvsqrt(alpha=0), "alpha: 0"),
        (lambda: WSD(decay="exponential"), "floor: 0 cannot be reached"),
        (lambda: WSD(warmup=0, constant_end=0), "must ascend"),
    ],
)
def test_bad_settings(build: Callable[[], Method], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()


@pytest.mark.slow
def test_a_stage_too_short_to_have_a_fork_still_ends(tmp_path: Path) -> None:
    folder = write_toy(tmp_path, tokens=BATCH * SEQUENCE, strategies={"infinite_cosine": None})
    run(folder)
    found = stage_results(folder, "infinite_cosine")
    assert [stage["steps"] for stage in found] == [1, 0, 1, 0]
    assert [len(stage["points"]) for stage in found] == [2, 1, 2, 1]
    assert weights(folder, "infinite_cosine")[0] == weights(folder, "infinite_cosine")[1]
