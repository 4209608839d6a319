"""Schedules: the table of the reference run, joins, conventions, empty phases, errors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from cl.errors import UserError
from cl.methods import lr_schedules
from cl.methods.lr_schedules import Phases

Schedule = Callable[[int, Phases], float]

MAX, CONST, MIN = 3e-4, 1.65e-4, 3e-5  # the 405M model of 2403.08763
SCHEDULES: dict[str, Schedule] = {
    "inf_cosine": partial(lr_schedules.inf_cosine, eta_max=MAX, eta_const=CONST, eta_min=MIN),
    "inf_invsqrt": partial(lr_schedules.inf_invsqrt, eta_max=MAX, eta_const=CONST, eta_min=MIN, alpha=10),
    "rewarm_cosine": partial(lr_schedules.rewarm_cosine, eta_max=MAX, eta_min=MIN),
    "constant": partial(lr_schedules.constant, eta_max=MAX),
    "wsd_exponential": partial(lr_schedules.wsd, eta_max=MAX, eta_min=MIN, decay="exponential"),
    "wsd_linear": partial(lr_schedules.wsd, eta_max=MAX, eta_min=MIN, decay="linear"),
    "wsd_1-sqrt": partial(lr_schedules.wsd, eta_max=MAX, eta_min=MIN, decay="1-sqrt"),
}
T = 10_000
PHASES = Phases.cumulative(T, warmup=0.01, cooldown_end=0.60, constant_end=0.85)

COSINE: Any = "cosine"  # not a decay
TABLE = [  # t, inf_cosine, inf_invsqrt, rewarm_cosine
    (50, 1.5e-4, 1.5e-4, 1.5e-4),
    (100, 3e-4, 3e-4, 3e-4),
    (1000, 2.9239626507e-4, 2.2834620499e-4, 2.9453155144e-4),
    (3050, 2.3250000000e-4, 1.8562952287e-4, 2.4504257042e-4),
    (5000, 1.7434509951e-4, 1.7008543062e-4, 1.6714190512e-4),
    (6000, 1.65e-4, 1.65e-4, 1.2491574933e-4),
    (8500, 1.65e-4, 1.65e-4, 4.5007214432e-5),
    (9250, 7.0356236397e-5, 7.0356236397e-5, 3.3805438276e-5),
    (10_000, 3e-5, 3e-5, 3e-5),
]


@pytest.mark.parametrize(("step", "cosine", "invsqrt", "rewarm"), TABLE)
def test_reference_table(step: int, cosine: float, invsqrt: float, rewarm: float) -> None:
    expected = {"inf_cosine": cosine, "inf_invsqrt": invsqrt, "rewarm_cosine": rewarm}
    for name, value in expected.items():
        assert SCHEDULES[name](step, PHASES) / value == pytest.approx(1, abs=1e-9), name


@pytest.mark.parametrize(
    ("name", "quarter", "end"),
    [  # a quarter into the decay: 30e-5 * 0.1**0.25, 3e-5 + 27e-5 * 0.75, 3e-5 + 27e-5 * 0.5
        ("wsd_exponential", 1.6870239756e-4, MIN),
        ("wsd_linear", 2.325e-4, MIN),
        ("wsd_1-sqrt", 1.65e-4, MIN),
    ],
)
def test_wsd_holds_the_peak_and_then_decays(name: str, quarter: float, end: float) -> None:
    phases = Phases.cumulative(1000, warmup=0.01, constant_end=0.9)
    assert [SCHEDULES[name](step, phases) for step in (10, 500, 900)] == pytest.approx([MAX] * 3)
    assert SCHEDULES[name](925, phases) == pytest.approx(quarter, rel=1e-9)
    assert SCHEDULES[name](1000, phases) == pytest.approx(end)


@pytest.mark.parametrize("name", SCHEDULES)
def test_first_step_is_one_part_of_the_warmup_not_zero(name: str) -> None:
    assert SCHEDULES[name](0, PHASES) == SCHEDULES[name](1, PHASES) == pytest.approx(MAX / 100)


@pytest.mark.parametrize("name", SCHEDULES)
def test_no_jump_at_joins(name: str) -> None:
    for join in (PHASES.warmup, PHASES.cooldown, PHASES.constant):
        before, at, after = (SCHEDULES[name](step, PHASES) for step in (join - 1, join, join + 1))
        assert abs(at - before) <= MAX / 100 * 1.001  # the steepest slope is the warm-up's
        assert abs(after - at) <= MAX / 30  # 1-sqrt starts steeply: 0.9 * MAX * sqrt(1/1500)


def test_durations_and_cumulative_ends_agree() -> None:
    for total in (7, 50, 250, 1000, 10_001, 132_366):
        ends = Phases.cumulative(total, warmup=0.01, cooldown_end=0.6, constant_end=0.85)
        assert Phases.durations(total, warmup=0.01, cooldown=0.59, constant=0.25) == ends


def test_ends_are_rounded_once() -> None:
    phases = Phases.cumulative(132_366, warmup=0.01, cooldown_end=0.6, constant_end=0.85)
    assert phases == Phases(total=132_366, warmup=1324, cooldown=79_420, constant=112_511)


def test_a_step_does_not_depend_on_how_it_was_reached() -> None:
    for schedule in SCHEDULES.values():
        whole = [schedule(step, PHASES) for step in range(0, T, 97)]
        assert [schedule(step, Phases(T, 100, 6000, 8500)) for step in range(0, T, 97)] == whole


@pytest.mark.parametrize(
    ("name", "phases", "values"),
    [  # values at steps 0, 1, 2 of 4
        ("constant", Phases(4, 0, 0, 4), [MAX, MAX, MAX]),
        ("constant", Phases(4, 1, 1, 4), [MAX, MAX, MAX]),
        ("rewarm_cosine", Phases(4, 0, 0, 4), [MAX, MIN + 0.8535533906 * (MAX - MIN), (MAX + MIN) / 2]),
        ("rewarm_cosine", Phases(4, 4, 4, 4), [MAX / 4, MAX / 4, MAX / 2]),
        ("inf_cosine", Phases(4, 0, 0, 4), [CONST, CONST, CONST]),
        ("inf_cosine", Phases(4, 0, 0, 0), [CONST, CONST * (MIN / CONST) ** 0.25, CONST * (MIN / CONST) ** 0.5]),
        ("inf_invsqrt", Phases(4, 1, 1, 4), [MAX, CONST, CONST]),
        ("wsd_linear", Phases(4, 0, 0, 0), [MAX, MIN + 0.75 * (MAX - MIN), (MAX + MIN) / 2]),
    ],
)
def test_empty_phases(name: str, phases: Phases, values: list[float]) -> None:
    assert [SCHEDULES[name](step, phases) for step in range(3)] == pytest.approx(values)
    assert SCHEDULES[name](4, phases) >= MIN * 0.999999


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lr_schedules.inf_cosine(95, Phases(100, 0, 0, 90), eta_max=1, eta_const=0.5, eta_min=0), "eta_min: 0"),
        (lambda: lr_schedules.wsd(95, Phases(100, 0, 0, 90), eta_max=1, eta_min=0, decay="exponential"), "eta_min: 0"),
        (lambda: lr_schedules.wsd(95, Phases(100, 0, 0, 90), eta_max=1, eta_min=0, decay=COSINE), "'cosine'"),
        (lambda: lr_schedules.inf_invsqrt(5, PHASES, eta_max=1, eta_const=0.5, eta_min=0.1, alpha=0), "alpha: 0"),
        (lambda: Phases.cumulative(100, warmup=0.2, cooldown_end=0.1), "ascend"),
        (lambda: Phases.cumulative(100, constant_end=1.2), "ascend"),
        (lambda: Phases.cumulative(100, warmup=-0.1), "ascend"),
    ],
)
def test_bad_input_is_a_user_error(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()
