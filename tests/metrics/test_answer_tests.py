"""Single answers compared: paired by question, tasks not pooled, and no claim beyond these checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cl.config.compare import Compare
from cl.metrics import answer_tests

ASKED = Compare(items="strict", resamples=2000)


def answers(**scores: list[list[list[float]]]) -> Any:
    """By strategy, of each unit, of each task, the scores of its questions."""
    return {
        name: {
            f"seed {seed}": {f"task {t}": [(f"q{t}{i}", s) for i, s in enumerate(row)] for t, row in enumerate(unit)}
            for seed, unit in enumerate(units)
        }
        for name, units in scores.items()
    }


def test_the_mean_is_over_tasks_of_the_mean_over_questions() -> None:
    """Task 0: one of four questions differs; task 1: its only one: (1/4 + 1) / 2, not 2 of 5."""
    found = answer_tests.contrasts(answers(a=[[[1, 1, 0, 0], [1]]], b=[[[1, 0, 0, 0], [0]]]), [("a", "b")], ASKED)
    assert (found[0].mean, found[0].questions, found[0].tasks, found[0].units) == (0.625, 5, 2, 1)


def test_p_counts_flips_of_questions_by_hand() -> None:
    """Three questions all won: 2 of 8 flips are as far from zero. In two units they are still three questions."""
    won = [np.array([[1.0, 1.0, 1.0]])]
    assert answer_tests.item_flip(won) == pytest.approx(2 / 8)
    assert answer_tests.item_flip([np.repeat(won[0], 2, 0)]) == pytest.approx(2 / 8)


def test_a_question_weighs_as_in_its_tasks_mean() -> None:
    """Differences 1 of a task of one question and -1, -1 of a task of two: 1/1 - 2/2 = 0: every flip is as far."""
    assert answer_tests.item_flip([np.array([[1.0]]), np.array([[-1.0, -1.0]])]) == pytest.approx(1.0)


def test_many_questions_decide_where_three_seeds_cannot() -> None:
    generator = np.random.default_rng(0)
    better, worse = (generator.random((3, 1, 100)) < rate for rate in (0.8, 0.5))
    (found,) = answer_tests.contrasts(
        answers(a=better.astype(float).tolist(), b=worse.astype(float).tolist()), [("a", "b")], ASKED
    )
    assert found.verdict == "better"
    assert found.adjusted == found.p < 0.001
    assert found.interval.low > 0
    assert found.sentence.startswith("These checkpoints: a answers better than b (strict): +0.")
    assert found.sentence.endswith("100 questions of 1 task in 3 units. It says nothing of other seeds or orders.")


def test_holm_is_over_the_pairs() -> None:
    made = answers(a=[[[1] * 6]], b=[[[0] * 6]], c=[[[0, 0, 0, 0, 0, 1]]])
    first, second = answer_tests.contrasts(made, [("a", "b"), ("a", "c")], ASKED)
    assert (first.p, second.p) == (2 / 64, 2 / 32)
    assert (first.adjusted, second.adjusted) == (2 * 2 / 64, 2 / 32)
    assert (first.verdict, second.verdict) == ("not decided", "not decided")


def test_other_questions_are_not_paired() -> None:
    made = answers(a=[[[1, 0]]], b=[[[1, 0]]])
    made["b"]["seed 0"]["task 0"][1] = ("another question", 0.0)
    (found,) = answer_tests.contrasts(made, [("a", "b")], ASKED)
    assert found.verdict == "undefined"
    said = f"a and b cannot be compared by single answers: task 0: {answer_tests.PAIRED}."
    assert found.sentence == said


def test_units_that_count_different_tasks_are_not_paired() -> None:
    """As where leading tasks are left out of several orders: the mean over the tasks in common would be another one."""
    made = answers(a=[[[1, 1], [0, 0]], [[1, 1], [0, 0]]], b=[[[0, 0], [0, 0]], [[0, 0], [0, 0]]])
    del made["b"]["seed 1"]["task 1"]
    (found,) = answer_tests.contrasts(made, [("a", "b")], ASKED)
    assert (found.verdict, found.reason) == ("undefined", answer_tests.COUNTED)


def test_the_interval_of_one_unit_and_one_task_is_the_bootstrap_of_questions() -> None:
    """0 and 1 half each, 400 of them: standard error .025, so 95 % are within .049."""
    found = answer_tests.crossed([np.tile([0.0, 1.0], 200)[None, :]], 0.95, 4000)
    assert found == pytest.approx((0.451, 0.549), abs=0.004)


def test_the_interval_covers_what_units_and_questions_vary_by() -> None:
    """Effects of both, three units: the mean over all units and questions is covered in 80 % or more, of 95 %.

    Few units are always drawn too alike; an interval of questions alone would cover in less than half.
    """
    generator, covered, alone = np.random.default_rng(0), 0, 0
    for seed in range(200):
        values = generator.normal(0, 0.3, (3, 1)) + generator.normal(0, 1, (1, 60)) + generator.normal(0, 1, (3, 60))
        low, high = answer_tests.crossed([values], 0.95, 400, seed)
        covered += low <= 0 <= high
        low, high = answer_tests.crossed([values.mean(0, keepdims=True)], 0.95, 400, seed)
        alone += low <= 0 <= high
    assert covered >= 0.8 * 200
    assert covered > alone + 20
