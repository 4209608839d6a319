"""Metrics: the worked example, a public TRACE run, losses, and what is undefined."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cl.metrics.continual import forgetting_split, summary
from cl.metrics.formula import Metric

NAN = math.nan
EXAMPLE = np.array(
    [
        [0.02, 0.06, 0.08, 0.03],
        [0.90, 0.10, 0.05, 0.05],
        [0.70, 0.80, 0.10, 0.05],
        [0.95, 0.60, 0.86, 0.10],
        [0.78, 0.84, 0.70, 0.84],
    ]
)
VALUES = {
    "op_final": 0.7900,
    "op_t/1": 0.90,
    "op_t/2": 0.75,
    "op_t/3": 0.8033,
    "op_t/4": 0.79,
    "learned/1": 0.90,
    "learned/2": 0.80,
    "learned/3": 0.86,
    "learned/4": 0.84,
    "op_mean": 0.8108,
    "mft": 0.8500,
    "bwt/T-1": -0.0800,
    "bwt/T": -0.0600,
    "bwt/pairs": -0.0983,
    "bwt/libcontinual": -0.0050,
    "forgetting/first": 0.0800,
    "forgetting/chaudhry": 0.0967,
    "forgetting/since_learned": 0.0967,
    "forgetting/incl_last": 0.1100,
    "forgetting/libcontinual": 0.0267,
    "fwt/gem": 0.0433,
    "fwt/no_baseline": 0.1000,
    "min_acc/rows": 0.6667,
    "wc_acc/rows": 0.7100,
}


@pytest.mark.parametrize(("key", "value"), VALUES.items())
def test_worked_example(key: str, value: float) -> None:
    metric = summary(EXAMPLE)[key]
    assert metric.key == key
    assert metric.value == pytest.approx(value, abs=5e-5)
    assert not metric.reason


def test_no_formula_is_left_untested() -> None:
    found = summary(EXAMPLE)
    assert set(found) == {*VALUES, "x_delta"}
    assert found["x_delta"].reason == "there are no retained sets"


def test_chaudhry_sees_peaks_before_a_task_was_learned() -> None:
    matrix = np.array([[0.0, 0.0, 0.0], [0.5, 0.9, 0.0], [0.5, 0.6, 0.0], [0.5, 0.6, 0.7]])
    found = summary(matrix)
    assert found["forgetting/since_learned"].value == 0
    assert found["forgetting/chaudhry"].value == pytest.approx(0.15)  # (0 + .9 - .6) / 2


def test_public_trace_run() -> None:
    diagonal = [50.10, 66.33, 39.73, 57.98, 86.30, 34.57, 57.54, 40.03]
    overall = [50.10, 56.84, 49.93, 50.76, 57.52, 53.37, 51.88, 24.10]
    matrix = np.full((9, 8), NAN)
    for t, (own, mean) in enumerate(zip(diagonal, overall, strict=True), start=1):
        matrix[t, : t - 1] = (t * mean - own) / max(1, t - 1)  # the published means fix the sum, not the cells
        matrix[t, t - 1] = own
    matrix[8] = [42.95, 22.58, 18.85, 6.83, 61.60, 0, 0, 40.03]
    expected = {"mft": 54.07, "op_final": 24.10, "op_mean": 49.31, "bwt/T-1": -34.25, "bwt/T": -29.97}
    found = summary(matrix)
    for key, value in expected.items():
        assert found[key].value == pytest.approx(value, abs=0.0051), key
    assert found["fwt/gem"].reason == "R[1,2] was not evaluated"


LOSSES = np.array([[5.0, 6.0, 4.0], [2.0, 5.5, 3.9], [2.6, 3.0, 4.1]])  # two tasks, one retained set


def test_losses() -> None:
    found = summary(LOSSES, higher_is_better=False)
    expected = {
        "op_final_nll": 2.8,
        "op_t_nll/1": 2.0,
        "op_t_nll/2": 2.8,
        "learned_nll/1": 2.0,
        "learned_nll/2": 3.0,
        "op_mean_nll": 2.4,
        "mft_nll": 2.5,
        "bwt_nll": -0.6,
        "forgetting/first_nll": 0.6,
        "forgetting/chaudhry_nll": 0.6,
        "forgetting/since_learned_nll": 0.6,
        "fwt/gem_nll": 0.5,
        "x_delta_nll": -0.1,
        "adaptation/nll/1": 3.0,
        "adaptation/nll/2": 2.5,
        "adaptation/nll": 2.75,
    }
    assert {key: metric.value for key, metric in found.items()} == pytest.approx(expected)


def test_chaudhry_on_losses_measures_from_the_lowest_loss() -> None:
    losses = np.array([[9.0, 9.0, 9.0], [2.0, 9.0, 9.0], [1.5, 3.0, 9.0], [2.4, 3.2, 1.0]])
    found = summary(losses, higher_is_better=False)
    assert found["forgetting/first_nll"].value == pytest.approx((0.4 + 0.2) / 2)
    assert found["forgetting/chaudhry_nll"].value == pytest.approx((0.9 + 0.2) / 2)
    assert found["forgetting/since_learned_nll"].value == pytest.approx((0.9 + 0.2) / 2)


def test_retained_sets_enter_x_delta_only() -> None:
    with_retain = np.hstack([EXAMPLE, np.array([[0.5, 0.6], [0, 0], [0, 0], [0, 0], [0.4, 0.2]])])
    found, without = summary(with_retain), summary(EXAMPLE)
    assert found.pop("x_delta").value == pytest.approx(-0.25)
    assert found == {key: metric for key, metric in without.items() if key != "x_delta"}


@pytest.mark.parametrize(
    "key", [key for key in VALUES if key.startswith(("bwt", "forgetting", "fwt/g", "fwt/n", "wc"))]
)
def test_one_task_has_no_transfer(key: str) -> None:
    metric = summary(np.array([[0.1], [0.9]]))[key]
    assert math.isnan(metric.value)
    assert metric.reason.endswith("tasks, there are 1")


def test_one_task_has_a_final_score_and_an_adaptation() -> None:
    assert summary(np.array([[0.1], [0.9]]))["op_final"].value == 0.9
    assert summary(np.array([[5.0], [2.0]]), higher_is_better=False)["adaptation/nll"].value == 3.0


@pytest.mark.parametrize("key", ["bwt/libcontinual", "forgetting/libcontinual"])
def test_distant_pairs_need_three_tasks(key: str) -> None:
    assert summary(LOSSES)[key].reason == "needs at least 3 tasks, there are 2"


def without(*cells: tuple[int, int | slice]) -> np.ndarray:
    matrix = EXAMPLE.copy()
    for cell in cells:
        matrix[cell] = NAN
    return matrix


ROW = slice(None)


@pytest.mark.parametrize(
    ("matrix", "key", "reason"),
    [
        (without((0, ROW)), "fwt/gem", "row 0 was not evaluated"),
        (without((2, 0)), "forgetting/chaudhry", "R[2,1] was not evaluated"),  # never a max over the others
        (without((2, 0)), "op_mean", "R[2,1] was not evaluated"),
        (without((2, 0)), "min_acc/rows", "R[2,1] was not evaluated"),
        (without((2, 0)), "forgetting/first", ""),
        (without((4, 3)), "op_final", "R[4,4] was not evaluated"),
        (without((0, ROW), (1, ROW), (2, ROW), (3, ROW)), "op_final", ""),  # joint training: row T only
        (without((0, ROW), (1, ROW), (2, ROW), (3, ROW)), "bwt/T-1", "row 1 was not evaluated"),
        (without((0, ROW), (1, ROW), (2, ROW), (3, ROW)), "mft", "row 1 was not evaluated"),
        (without((0, ROW)), "bwt/T-1", ""),  # a pretrained model that knows task 1
    ],
)
def test_a_missing_cell_makes_exactly_its_formulas_undefined(matrix: np.ndarray, key: str, reason: str) -> None:
    metric = summary(matrix)[key]
    assert metric.reason == reason
    assert math.isnan(metric.value) == bool(reason)


def test_every_undefined_value_has_a_reason_and_no_defined_one_has() -> None:
    for matrix in (EXAMPLE, without((2, 0)), np.full((5, 4), NAN), EXAMPLE[:2]):
        for higher in (True, False):
            for metric in summary(matrix, higher).values():
                assert math.isnan(metric.value) == bool(metric.reason), metric


def adaptation(losses: np.ndarray, known: int = 0) -> list[Metric]:
    found = summary(losses, higher_is_better=False, known=known)
    return [metric for key, metric in found.items() if key.startswith("adaptation/")]


def test_a_pretrained_model_adapts_only_to_what_the_run_taught() -> None:
    losses = LOSSES.copy()
    losses[0] = NAN
    assert adaptation(losses, known=1) == [Metric("adaptation/nll/2", 2.5), Metric("adaptation/nll", 2.5)]
    assert adaptation(losses, known=2)[0].reason == "there is nothing to average"
    assert [metric.reason for metric in adaptation(losses)] == [
        "row 0 was not evaluated",
        "",
        "row 0 was not evaluated",
    ]


def test_forgotten_form_and_content_add_up_to_the_fall_by_hand() -> None:
    # Task 1: strict .8 after it, .1 at the end; form forgiven .9 and .7. Task 2 is the last.
    strict = np.array([[0.0, 0.0], [0.8, 0.1], [0.1, 0.5]])
    normalised = np.array([[0.2, 0.0], [0.9, 0.1], [0.7, 0.5]])
    found = {metric.key: metric.value for metric in forgetting_split(strict, normalised)}
    assert found["superficial"] == pytest.approx(0.5)  # (.7 - .1) - (.9 - .8)
    assert found["essential"] == pytest.approx(0.2)  # .9 - .7
    assert found["strict_fall"] == pytest.approx(0.7)


def test_the_split_of_forgetting_is_an_identity_and_nothing_is_clipped() -> None:
    chance = np.random.default_rng(0)
    for _ in range(20):
        strict = chance.random((5, 4))
        normalised = np.minimum(1, strict + chance.random((5, 4)) / 2)
        found = {metric.key: metric.value for metric in forgetting_split(strict, normalised)}
        assert found["superficial"] + found["essential"] == pytest.approx(found["strict_fall"])


def test_the_split_says_what_it_lacks() -> None:
    strict = np.array([[0.0, 0.0], [math.nan, 0.1], [0.1, 0.5]])
    for metric in forgetting_split(strict, strict):
        assert math.isnan(metric.value)
        assert metric.reason == "R[1,1] was not evaluated"
