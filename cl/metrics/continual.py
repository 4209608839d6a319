"""Continual-learning metrics of a result matrix: pure functions, the formula's name in each key.

`matrix` has shape (T + 1, C): row 0 = before any training, row t = after task t; the first T columns are the
stream's tasks in the order in which they were learned, the others the retained sets. NaN = not evaluated.
R[t, i] below is 1-based in i. A formula that needs a cell that was not evaluated is NaN and says which one:
never 0, and never a mean over the cells that happen to be there.

| key                      | formula                                                   | used by                       |
|--------------------------|-----------------------------------------------------------|-------------------------------|
| `op_final`               | mean_i R[T,i]                                             | all; also named AP, MFN       |
| `op_t/t`                 | mean_{i<=t} R[t,i], for each t                            | TRACE, Renate                 |
| `op_mean`                | mean_t op_t/t                                             | CoIN, SEFE (MAA), FGGM ("OP") |
| `mft`                    | mean_t R[t,t]                                             | SEFE, MCITlib                 |
| `bwt/T-1`                | sum_{i<T} (R[T,i] - R[i,i]) / (T-1)                       | GEM, Renate, mammoth, SLAO    |
| `bwt/T`                  | the same sum / T                                          | CoIN, SEFE, TRACE, SAPT       |
| `bwt/pairs`              | mean over t > i of R[t,i] - R[i,i]                        | continuum                     |
| `bwt/libcontinual`       | pairs t >= i+2 only, still / (T(T-1)/2)                   | LibContinual                  |
| `forgetting/first`       | mean_{i<T} R[i,i] - R[T,i]                                | Avalanche                     |
| `forgetting/chaudhry`    | mean_{i<T} max_{i<=s<T} R[s,i] - R[T,i]                   | RWalk, continuum, contilab    |
| `forgetting/any_past`    | the same, max over 1 <= s < T                             | Renate, SAPT                  |
| `forgetting/incl_last`   | the same, max over 1 <= s <= T, so >= 0                   | mammoth, PyCIL                |
| `forgetting/libcontinual`| sum_{i<=T-2} (R[i,i] - R[T,i]) / (T-1)                    | LibContinual                  |
| `fwt/gem`                | sum_{i>=2} (R[i-1,i] - R[0,i]) / (T-1)                    | GEM, Renate, Avalanche        |
| `fwt/no_baseline`        | sum_{i>=2} R[i-1,i] / (T-1)                               | continuum                     |
| `fwt/single`             | mean_i R[i,i] - mean_i single_i                           | SAPT                          |
| `min_acc/rows`           | mean_{i<T} min_{s>=i} R[s,i] (2205.13452)                 | De Lange et al.               |
| `wc_acc/rows`            | R[T,T]/T + (1 - 1/T) min_acc                              | De Lange et al.               |
| `x_delta`                | mean over retained sets of R[T,i] - R[0,i] (2310.06762)   | TRACE                         |
| `superficial`            | mean_{i<T} (n - s)[T,i] - (n - s)[i,i], see function      | ours, after SEFE              |
| `essential`              | mean_{i<T} n[i,i] - n[T,i]                                | ours, after SEFE              |

`min_acc/rows` and `wc_acc/rows` see task boundaries only and are upper bounds; `cl.metrics.curve_metrics` takes curves
evaluated inside tasks. Future tasks never enter a minimum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
import numpy.typing as npt

from cl.errors import UserError

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A value under the name of its formula; where it is NaN, `reason` says why."""

    key: str
    value: float
    reason: str = ""


class _UndefinedError(Exception):
    """A formula has no value; the message is the reason. Never leaves this module."""


class _R:
    """The matrix as formulas read it: r(t, i) is R[t, i], i 1-based, and a missing cell is an _UndefinedError."""

    def __init__(self, matrix: Matrix) -> None:
        self.matrix = matrix
        self.T: int = matrix.shape[0] - 1
        self.columns: int = matrix.shape[1]

    def __call__(self, t: int, i: int) -> float:
        value = float(self.matrix[t, i - 1])
        if not math.isnan(value):
            return value
        if np.isnan(self.matrix[t]).all():
            raise _UndefinedError(f"row {t} was not evaluated")
        raise _UndefinedError(f"R[{t},{i}] was not evaluated")

    def earlier(self, least: int = 2) -> range:
        """Tasks 1..T-1, for a formula that needs at least `least` tasks."""
        if least > self.T:
            raise _UndefinedError(f"needs at least {least} tasks, there are {self.T}")
        return range(1, self.T)


def _mean(values: Iterable[float]) -> float:
    terms = list(values)
    if not terms:
        raise _UndefinedError("there is nothing to average")
    return math.fsum(terms) / len(terms)


def _op(r: _R, t: int) -> float:
    return _mean(r(t, i) for i in range(1, t + 1))


def _learned(r: _R, t: int) -> float:
    return r(t, t)


def _bwt_sum(r: _R) -> float:
    return math.fsum(r(r.T, i) - r(i, i) for i in r.earlier())


def _bwt_pairs(r: _R, gap: int) -> float:
    """Sum over pairs of tasks at least `gap` apart, divided by the number of *all* pairs."""
    pairs = list(combinations(range(1, r.T + 1), 2))
    r.earlier(gap + 1)
    return math.fsum(r(t, i) - r(i, i) for i, t in pairs if t - i >= gap) / len(pairs)


def _forgetting(r: _R, rows: Callable[[int], Iterable[int]]) -> float:
    """Mean over earlier tasks i of the best score in `rows(i)` minus the last one."""
    return _mean(max(r(s, i) for s in rows(i)) - r(r.T, i) for i in r.earlier())


def _forgetting_libcontinual(r: _R) -> float:
    return math.fsum(r(i, i) - r(r.T, i) for i in r.earlier(3) if i <= r.T - 2) / (r.T - 1)


def _forward(r: _R, baseline: bool) -> float:
    return _mean(r(i, i + 1) - (r(0, i + 1) if baseline else 0.0) for i in r.earlier())


def _min_acc(r: _R) -> float:
    return _mean(min(r(s, i) for s in range(i, r.T + 1)) for i in r.earlier())


def _wc_acc(r: _R) -> float:
    return r(r.T, r.T) / r.T + (1 - 1 / r.T) * _min_acc(r)


def _x_delta(r: _R) -> float:
    retained = range(r.T + 1, r.columns + 1)
    if not retained:
        raise _UndefinedError("there are no retained sets")
    return _mean(r(r.T, i) - r(0, i) for i in retained)


FORMULAS: dict[str, Callable[[_R], float]] = {
    "op_final": lambda r: _op(r, r.T),
    "op_mean": lambda r: _mean(_op(r, t) for t in range(1, r.T + 1)),
    "mft": lambda r: _mean(r(t, t) for t in range(1, r.T + 1)),
    "bwt/T-1": lambda r: _bwt_sum(r) / (r.T - 1),
    "bwt/T": lambda r: _bwt_sum(r) / r.T,
    "bwt/pairs": lambda r: _bwt_pairs(r, gap=1),
    "bwt/libcontinual": lambda r: _bwt_pairs(r, gap=2),
    "forgetting/first": lambda r: _forgetting(r, lambda i: [i]),
    "forgetting/chaudhry": lambda r: _forgetting(r, lambda i: range(i, r.T)),
    "forgetting/any_past": lambda r: _forgetting(r, lambda i: range(1, r.T)),
    "forgetting/incl_last": lambda r: _forgetting(r, lambda i: range(1, r.T + 1)),
    "forgetting/libcontinual": _forgetting_libcontinual,
    "fwt/gem": lambda r: _forward(r, baseline=True),
    "fwt/no_baseline": lambda r: _forward(r, baseline=False),
    "min_acc/rows": _min_acc,
    "wc_acc/rows": _wc_acc,
    "x_delta": _x_delta,
}
"""Every formula that needs the matrix alone, by key."""

NLL: dict[str, tuple[str, int]] = {
    "op_final_nll": ("op_final", -1),
    "op_mean_nll": ("op_mean", -1),
    "mft_nll": ("mft", -1),
    "bwt_nll": ("bwt/T-1", 1),
    "forgetting/first_nll": ("forgetting/first", 1),
    "forgetting/chaudhry_nll": ("forgetting/chaudhry", 1),
    "fwt/gem_nll": ("fwt/gem", 1),
    "x_delta_nll": ("x_delta", 1),
}
"""Key for losses -> (formula that receives -L, sign of the result): levels are losses again, in nats per token,
forgetting is positive where the loss rose, transfer is positive where it fell."""


def summary(
    matrix: Matrix, higher_is_better: bool = True, single: Sequence[float] | None = None, known: int = 0
) -> dict[str, Metric]:
    """Every metric of one run, by key.

    higher_is_better: True for scores (keys of `FORMULAS`, `op_t/t`, and `fwt/single` where `single` is given);
    False for losses in nats per token (keys of `NLL`, `op_t_nll/t`, and those of `adaptation`); `learned/t` and
    `learned_nll/t` are of the task just learned, R[t, t]; single: score
    of each task trained alone, by position; known: leading tasks that a pretrained model had learned.
    Raises UserError for a matrix without tasks or with fewer columns than tasks.
    """
    r = _R(_checked(matrix if higher_is_better else -matrix))
    steps = range(1, r.T + 1)
    if higher_is_better:
        found = [_metric(key, formula, r) for key, formula in FORMULAS.items()]
        found += [_metric(f"op_t/{t}", partial(_op, t=t), r) for t in steps]
        found += [_metric(f"learned/{t}", partial(_learned, t=t), r) for t in steps]
        found += [] if single is None else [_metric("fwt/single", partial(_single, single=single), r)]
    else:
        found = [_metric(key, FORMULAS[name], r, sign) for key, (name, sign) in NLL.items()]
        found += [_metric(f"op_t_nll/{t}", partial(_op, t=t), r, -1) for t in steps]
        found += [_metric(f"learned_nll/{t}", partial(_learned, t=t), r, -1) for t in steps]
        found += adaptation(matrix, known)
    return {metric.key: metric for metric in found}


def defined(tasks: int, retain: int, known: int, scored: bool) -> dict[str, Metric]:
    """The metrics that a run of so many tasks and retain sets can have, by key; NaN with the reason where it cannot.

    known: leading tasks of a pretrained model; scored: whether its tasks have scores.
    """
    losses, scores = np.zeros((tasks + 1, tasks + retain)), np.zeros((tasks + 1, tasks + retain))
    losses[:known] = math.nan
    found = summary(losses, higher_is_better=False, known=known)
    if scored:
        scores[:known] = math.nan
        found |= summary(scores) | {metric.key: metric for metric in forgetting_split(scores, scores)}
    return found


def adaptation(losses: Matrix, known: int = 0) -> list[Metric]:
    """How much loss learning a task removed: L[i-1,i] - L[i,i] in nats per token (2403.08763).

    Keys `adaptation/nll/i` for each task i that the run learned, and `adaptation/nll`, their mean. The
    `known` leading tasks were learned before the run and have none. Row i-1 must be the state from which task
    i was learned: for tasks trained each from the base model, pass row 0 in its place.
    """
    r = _R(_checked(losses))
    learned = range(known + 1, r.T + 1)
    per_task = [_metric(f"adaptation/nll/{i}", partial(_gain, i=i), r) for i in learned]
    return [*per_task, _metric("adaptation/nll", lambda r: _mean(_gain(r, i) for i in learned), r)]


def forgetting_split(strict: Matrix, normalised: Matrix) -> list[Metric]:
    """`superficial` and `essential`: forgetting of form and of content, means over tasks i < T at the end.

    superficial[i] = (n[T,i] - s[T,i]) - (n[i,i] - s[i,i]) is what the strict score s lost and the score n, which
    forgives form, did not; essential[i] = n[i,i] - n[T,i] is what remains. Their sum is the fall of the strict score,
    `strict_fall`, exactly; so nothing is clipped at 0. The terms are SEFE's (2505.02486), the formula is ours: the
    paper infers the split from the gain of its two parts.
    """
    s, n = _R(_checked(strict)), _R(_checked(normalised))

    def superficial(i: int) -> float:
        return (n(n.T, i) - s(s.T, i)) - (n(i, i) - s(i, i))

    return [
        _metric("superficial", lambda _: _mean(superficial(i) for i in s.earlier()), s),
        _metric("essential", lambda _: _mean(n(i, i) - n(n.T, i) for i in s.earlier()), s),
        _metric("strict_fall", lambda _: _mean(s(i, i) - s(s.T, i) for i in s.earlier()), s),
    ]


def as_matrix(rows: Mapping[int, Mapping[str, float]], tasks: Sequence[str], retain: Sequence[str] = ()) -> Matrix:
    """Result matrix from rows by t and columns by name; what is absent becomes NaN. Shape (T + 1, C).

    tasks: in the order in which they were learned; retain: the further columns.
    """
    columns = [*tasks, *retain]
    return np.array([[rows.get(t, {}).get(name, math.nan) for name in columns] for t in range(len(tasks) + 1)])


def reject_zero_padded(matrix: Matrix, source: str) -> None:
    """Refuse an imported matrix whose cells of unlearned tasks are all 0, as mammoth, PyCIL and SAPT write them.

    Raises UserError that names `source`, the file or run imported.
    """
    future = _checked(matrix)[1:, : matrix.shape[0] - 1][np.triu_indices(matrix.shape[0] - 1, k=1)]
    if future.size and not future.any():
        raise UserError(f"{source}: all scores of tasks not yet learned are 0, zero-padded; import them as NaN")


def _metric(key: str, formula: Callable[[_R], float], r: _R, sign: int = 1) -> Metric:
    try:
        return Metric(key, sign * formula(r))
    except _UndefinedError as reason:
        return Metric(key, math.nan, str(reason))


def _single(r: _R, single: Sequence[float]) -> float:
    if len(single) != r.T:
        raise UserError(f"single: has {len(single)} scores for {r.T} tasks; give one for each task")
    if np.isnan(single).any():
        raise _UndefinedError("a single-task score is missing")
    return FORMULAS["mft"](r) - _mean(single)


def _gain(r: _R, i: int) -> float:
    return r(i - 1, i) - r(i, i)


def _checked(matrix: Matrix) -> Matrix:
    if matrix.ndim != 2 or matrix.shape[0] < 2 or matrix.shape[1] < matrix.shape[0] - 1:
        raise UserError(f"result matrix: shape {matrix.shape} is not (T + 1, C) with C >= T >= 1")
    return matrix
