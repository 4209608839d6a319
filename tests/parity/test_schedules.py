"""Learning-rate schedules beside GPT-NeoX, its pull request with the infinite schedules, and the WSD code of EPFL."""

from __future__ import annotations

import math

import pytest

from cl.methods import lr_schedules
from cl.methods.lr_schedules import Phases

TOTAL, WARMUP = 200, 10
PEAK, CONSTANT, FLOOR = 3e-4, 1.65e-4, 3e-5
COOLDOWN, HOLD = 110, 50  # lengths of the phases after the warm-up


def neox_cosine(step: int) -> float:
    if step <= WARMUP:
        return PEAK * max(1, step) / WARMUP
    x = (step - WARMUP) / (TOTAL - WARMUP)
    return max(FLOOR, FLOOR + (PEAK - FLOOR) / 2 * (math.cos(math.pi * x) + 1))


def neox_infinite(step: int, style: str, timescale: float = 10.0) -> float:
    """The pull request's: phases are given by their lengths; the rate anneals with exp(-k n)."""
    if step <= WARMUP:
        return PEAK * step / WARMUP
    n = step - WARMUP
    if n <= COOLDOWN:
        x = n / COOLDOWN
        if style == "cosine":
            return CONSTANT + (PEAK - CONSTANT) / 2 * (math.cos(math.pi * x) + 1)
        bend = lambda t: 1 / math.sqrt(1 + timescale * t) - 1  # noqa: E731
        return PEAK + (CONSTANT - PEAK) / bend(1) * bend(x)
    n -= COOLDOWN
    if n <= HOLD:
        return CONSTANT
    fall = -math.log(FLOOR / CONSTANT) / (TOTAL - WARMUP - COOLDOWN - HOLD)
    return max(FLOOR, CONSTANT * math.exp(-fall * (n - HOLD)))


def test_re_warming_and_re_decaying_is_gpt_neox_s_cosine() -> None:
    """EleutherAI/gpt-neox@ea7aefd megatron/learning_rates.py, `AnnealingLR.get_lr` (cosine): same at every step.

    Step 0 has the rate of step 1 in both. (The paper's re-warming is this schedule, started again.)
    """
    phases = Phases(TOTAL, WARMUP, WARMUP, TOTAL)
    for step in range(TOTAL + 1):
        found = lr_schedules.rewarm_cosine(step, phases, eta_max=PEAK, eta_min=FLOOR)
        assert found == pytest.approx(neox_cosine(step), rel=1e-12)


@pytest.mark.parametrize("style", ["cosine", "inv_sqrt"])
def test_the_infinite_schedules_are_those_of_the_pull_request(style: str) -> None:
    """EleutherAI/gpt-neox@3815242 (head of pull request 1194, unmerged) megatron/learning_rates.py `get_lr`,
    `infinite_cosine` and `infinite_inv_sqrt` (timescale = our alpha): same from step 1 on.

    There step 0 has rate 0; ours has the rate of step 1, as its main branch.
    """
    phases = Phases.durations(TOTAL, warmup=WARMUP / TOTAL, cooldown=COOLDOWN / TOTAL, constant=HOLD / TOTAL)
    eta = {"eta_max": PEAK, "eta_const": CONSTANT, "eta_min": FLOOR}
    schedule = lr_schedules.inf_cosine if style == "cosine" else lr_schedules.inf_invsqrt
    found = [schedule(step, phases, **eta) for step in range(TOTAL + 1)]
    assert found[1:] == pytest.approx([neox_infinite(step, style) for step in range(1, TOTAL + 1)], rel=1e-12)
    assert (found[0], neox_infinite(0, style)) == (found[1], 0.0)
    assert len(set(found)) > TOTAL - HOLD - 5


def epfl_wsd(step: int, hold: int, floor: float, decay: str) -> float:
    """Factor on the peak rate from the end of the warm-up on."""
    if step < hold:
        return 1.0
    x = (step - hold) / (TOTAL - hold)
    if decay == "exp":
        return float(floor**x)
    left = 1 - x if decay == "linear" else 1 - math.sqrt(x)
    return floor + (1 - floor) * left


@pytest.mark.parametrize(
    ("ours", "theirs", "floor"),
    [("linear", "linear", 0.0), ("linear", "linear", 0.07), ("1-sqrt", "sqrt", 0.0), ("1-sqrt", "sqrt", 0.07),
     ("exponential", "exp", 0.07)],
)  # fmt: skip
def test_warmup_stable_decay_is_epfl_s_after_the_warm_up(ours: lr_schedules.Decay, theirs: str, floor: float) -> None:
    """epfml/schedules-and-scaling@17e78d6 src/optim/utils.py, `wsd_schedule` (code of 2405.18392): same from the end of
    the warm-up on. Its warm-up is linear from 1 / init_div_factor (1/100) to 1, ours from 1 / warm-up steps.
    """
    hold = TOTAL - int(0.1 * TOTAL)
    phases = Phases(TOTAL, WARMUP, WARMUP, hold)
    for step in range(WARMUP, TOTAL):
        found = lr_schedules.wsd(step, phases, eta_max=1.0, eta_min=floor, decay=ours)
        assert found == pytest.approx(epfl_wsd(step, hold, floor, theirs), rel=1e-12, abs=1e-15)
    warm = [lr_schedules.wsd(step, phases, eta_max=1.0, eta_min=floor, decay=ours) for step in range(1, WARMUP)]
    official = [step / WARMUP + (1 - step / WARMUP) / 100 for step in range(1, WARMUP)]
    assert max(b - a for a, b in zip(warm, official, strict=True)) == pytest.approx(0.009)  # 0.01 (1 - step / warm-up)
