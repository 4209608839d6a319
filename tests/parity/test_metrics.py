"""Metrics of the result matrix beside the code of seven libraries."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from cl.metrics.continual import summary

Matrix = npt.NDArray[np.float64]
TASKS = 5


def matrix(seed: int = 0) -> Matrix:
    """R with row 0 before any training, all cells evaluated; a score can be high before its task is learned."""
    return np.random.default_rng(seed).uniform(0.05, 0.95, (TASKS + 1, TASKS))


def ours(key: str, r: Matrix) -> float:
    return summary(r)[key].value


def gem(r: Matrix) -> tuple[float, float, float]:
    """Final accuracy, backward and forward of the code, which takes means over all T tasks."""
    baseline, result = r[0], r[1:]
    forward = np.zeros(TASKS)
    for t in range(1, TASKS):
        forward[t] = result[t - 1, t] - baseline[t]
    return result[-1].mean(), (result[-1] - result.diagonal()).mean(), forward.mean()


def rwalk(r: Matrix) -> float:
    data, last = r[1:], TASKS - 1
    return float(sum(max(data[:last, i]) - data[last, i] for i in range(last)) / last)


def renate_forgetting(r: Matrix) -> float:
    data, t = r[1:], TASKS - 1
    return float(sum(max(data[k][i] for k in range(t)) - data[t][i] for i in range(t)) / t)


def renate_forward(r: Matrix) -> float:
    data, t = r[1:], TASKS - 1
    return float(sum(data[i - 1][i] - r[0][i] for i in range(1, t + 1)) / t)


def backward(r: Matrix) -> float:
    """Renate's and Mammoth's."""
    data = r[1:]
    return float(np.mean([data[-1][i] - data[i][i] for i in range(TASKS - 1)]))


def mammoth_forgetting(r: Matrix) -> float:
    """Mammoth's and PyCIL's: best over all rows, the last one included; a row has 0 for later tasks."""
    data = np.tril(r[1:])
    return float(np.mean(data.max(0)[:-1] - data[-1][:-1]))


def avalanche_forgetting(r: Matrix) -> float:
    """Mean over tasks, except the one just learned, of the first value minus the last."""
    initial, last = {}, {}
    for t in range(TASKS):
        last = {k: r[t + 1, k] for k in range(TASKS) if k != t}
        initial[t] = r[t + 1, t]
    return float(np.mean([initial[k] - last[k] for k in initial if k in last]))


def continuum_forgetting(r: Matrix) -> float:
    data, k = r[1:], TASKS
    return float(sum(max(data[m, j] for m in range(k - 1) if m >= j) - data[k - 1, j] for j in range(k - 1)) / (k - 1))


def continuum_backward(r: Matrix) -> float:
    data = r[1:]
    return float(sum(data[i, j] - data[j, j] for i in range(1, TASKS) for j in range(i)) / (TASKS * (TASKS - 1) / 2))


def continuum_forward(r: Matrix) -> float:
    return float(sum(r[i, i] for i in range(1, TASKS)) / (TASKS - 1))


def libcontinual_backward(r: Matrix) -> float:
    table, task = r[1:], TASKS - 1
    total = sum(table[i, j] - table[j, j] for i in range(2, task) for j in range(i - 1))
    total += sum(table[task, j] - table[j, j] for j in range(task - 1))
    return float(total * 2 / (task * (task + 1)))


def libcontinual_forgetting(r: Matrix) -> float:
    table, task = r[1:], TASKS - 1
    return float(sum(np.diag(table)[: task - 1] - table[task][: task + 1][:-2]) / task)


SAME: list[tuple[str, str, Callable[[Matrix], float]]] = [
    ("GEM", "op_final", lambda r: gem(r)[0]),
    ("A-GEM", "forgetting/chaudhry", rwalk),
    ("Renate", "forgetting/chaudhry", renate_forgetting),
    ("Renate", "bwt/T-1", backward),
    ("Renate", "fwt/gem", renate_forward),
    ("Renate", "op_final", lambda r: r[-1].sum() / TASKS),
    ("Mammoth", "bwt/T-1", backward),
    ("Mammoth", "fwt/gem", renate_forward),
    ("Avalanche", "forgetting/first", avalanche_forgetting),
    ("Avalanche", "bwt/T-1", lambda r: -avalanche_forgetting(r)),
    ("continuum", "forgetting/since_learned", continuum_forgetting),
    ("continuum", "bwt/pairs", continuum_backward),
    ("continuum", "fwt/no_baseline", continuum_forward),
    ("LibContinual", "bwt/libcontinual", libcontinual_backward),
    ("LibContinual", "forgetting/libcontinual", libcontinual_forgetting),
]


@pytest.mark.parametrize(("code", "key", "official"), SAME, ids=[f"{code}-{key}" for code, key, _ in SAME])
def test_same_as(code: str, key: str, official: Callable[[Matrix], float]) -> None:
    """facebookresearch/GradientEpisodicMemory@34c6b8e metrics/metrics.py; facebookresearch/agem@4542149 utils/utils.py
    `compute_fgt`; awslabs/Renate@aa858dd src/renate/evaluation/metrics/classification.py; aimagelab/mammoth@e75a491
    utils/metrics.py; ContinualAI/avalanche@eb075be avalanche/evaluation/metrics/forgetting_bwt.py (stream metrics);
    Continvvm/continuum@43ba009 continuum/metrics/metrics.py; RL-VIG/LibContinual@a399ed4 core/utils/utils.py: same.
    """
    for seed in range(3):
        assert ours(key, matrix(seed)) == pytest.approx(official(matrix(seed)), rel=1e-12)


def test_gem_s_code_divides_transfer_by_t() -> None:
    """facebookresearch/GradientEpisodicMemory@34c6b8e metrics/metrics.py, `confusion_matrix`: its means take all T
    tasks, whose last (first) term is 0. So its backward is our `bwt/T`, and its forward (T - 1) / T x our `fwt/gem`.
    """
    for seed in range(3):
        r = matrix(seed)
        assert ours("bwt/T", r) == pytest.approx(gem(r)[1], rel=1e-12)
        assert ours("bwt/T-1", r) == pytest.approx(gem(r)[1] * TASKS / (TASKS - 1), rel=1e-12)
        assert ours("fwt/gem", r) == pytest.approx(gem(r)[2] * TASKS / (TASKS - 1), rel=1e-12)


def test_the_forgetting_of_mammoth_and_pycil_has_0_where_their_rows_end() -> None:
    """aimagelab/mammoth@e75a491 utils/metrics.py `forgetting`, G-U-N/PyCIL@87cc411 trainer.py: same as
    `forgetting/incl_last` if no task is better before it is learned; they fill short rows with 0, ours reads the cells.
    """
    r = matrix()
    r[1, 2] = 0.99
    assert ours("forgetting/incl_last", r) > mammoth_forgetting(r) + 1e-3
    for t in range(TASKS):
        r[t + 1, t + 1 :] *= 0.01
    assert ours("forgetting/incl_last", r) == pytest.approx(mammoth_forgetting(r), rel=1e-12)
