"""Values of all metrics of a result matrix.

The metrics are declared in `cl.metrics.formulas`. The name of the formula is part of a metric's key, because libraries
disagree: on one matrix of 4 tasks, "forgetting" is 0.027, 0.080, 0.097 or 0.110, depending on the library.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from cl.metrics.catalog import evaluate
from cl.metrics.formula import Metric
from cl.metrics.result_matrix import Matrix, ResultMatrix


def summary(
    matrix: Matrix, higher_is_better: bool = True, known: int = 0, keys: Iterable[str] = ()
) -> dict[str, Metric]:
    """All metrics of one result matrix, by key.

    Args:
        matrix: values of R, shape (T + 1, C): scores, or losses in nats/token; NaN = not evaluated.
        higher_is_better: True for scores, False for losses.
        known: number of leading tasks that a pretrained model had learned before the run.
        keys: keys of further metrics, `package.module:NAME`.

    Raises:
        UserError: the matrix has no tasks, or fewer columns than tasks.
    """
    return evaluate({"scores" if higher_is_better else "losses": ResultMatrix(matrix, known)}, keys)


def defined(tasks: int, retain: int, known: int, scored: bool, keys: Iterable[str] = ()) -> dict[str, Metric]:
    """All metrics that a run can have, by key. A metric that cannot have a value is NaN with the reason.

    The values themselves have no meaning.

    Args:
        tasks: number of tasks.
        retain: number of retained sets.
        known: number of leading tasks that a pretrained model had learned.
        scored: whether the tasks have scores.
        keys: keys of further metrics, `package.module:NAME`.
    """
    cells = np.linspace(0.1, 0.9, (tasks + 1) * (tasks + retain)).reshape(tasks + 1, tasks + retain)
    cells[:known] = math.nan
    names = ["losses", *(["scores", "strict", "normalised"] if scored else [])]
    return evaluate({name: ResultMatrix(cells, known) for name in names}, keys)


def forgetting_split(strict: Matrix, normalised: Matrix) -> list[Metric]:
    """`superficial`, `essential` and their sum `strict_fall`, see `cl.metrics.formulas.answer_form`.

    Args:
        strict: strict scores, shape (T + 1, C).
        normalised: scores that forgive form, shape (T + 1, C).
    """
    matrices = {"strict": ResultMatrix(strict), "normalised": ResultMatrix(normalised)}
    return list(evaluate(matrices).values())
