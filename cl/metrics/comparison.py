"""Comparison of strategies over seeds and task orders: paired tests, intervals, effect sizes, ranks and costs.

The input is an ExperimentResult and the settings under `compare`, which declare the family of tests. Nothing is read
from the store and nothing is run.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cl.config.compare import Compare
from cl.errors import UserError
from cl.metrics.comparison_result import NOTHING, Comparison, Contrast, Cost, Standing
from cl.metrics.formula import Metric
from cl.metrics.probed import probed
from cl.metrics.records import ExperimentResult, RunResult
from cl.metrics.run_metrics import better, beyond, named, scored
from cl.metrics.statistics import (
    cliffs_delta,
    d_z,
    holm,
    interval,
    mean_ranks,
    sensitivity,
    sign_flip,
)
from cl.metrics.transitions import changes

MATCHED = 0.01  # largest relative difference of tokens for which two strategies trained equally much
Pair = tuple[str, str]
Values = dict[str, dict[str, float]]
"""Values of a metric by strategy and unit."""
Measured = Sequence[tuple[RunResult, Mapping[str, Metric]]]
"""Runs with their metrics by key."""


def declared(labels: Sequence[str], wanted: Compare) -> list[Pair]:
    """The pairs of strategies that are tested.

    Args:
        labels: labels of all strategies.
        wanted: settings of the comparison.

    Raises:
        UserError: a label is unknown, a strategy is paired with itself, or there is only one strategy.
    """
    if len(labels) < 2:
        raise UserError(f"strategies: {list(labels)} has nothing to be compared with; list at least two")
    baseline = wanted.baseline or labels[0]
    given = wanted.pairs if isinstance(wanted.pairs, list) else []
    for label in (baseline, *itertools.chain.from_iterable(given)):
        if label not in labels:
            raise UserError(f"compare: {label!r} is no strategy of this experiment; it has {', '.join(labels)}")
    if any(a == b for a, b in given):
        raise UserError("compare.pairs: a strategy is paired with itself; remove the pair")
    if wanted.pairs == "all":
        return [(b, a) for a, b in itertools.combinations(labels, 2)]
    return given or [(label, baseline) for label in labels if label != baseline]


def check(labels: Sequence[str], tasks: int, wanted: Compare, having: Mapping[str, Metric]) -> None:
    """Check the settings of a comparison before anything is trained.

    Args:
        labels: labels of all strategies.
        tasks: number of tasks of a run, including skipped ones.
        wanted: settings of the comparison.
        having: metrics that the tasks that are not skipped can have, from `cl.metrics.continual.defined`.

    Raises:
        UserError: pairs, skipped tasks or metrics cannot be compared.
    """
    declared(labels, wanted)
    if wanted.skip >= tasks:
        raise UserError(f"compare.skip: {wanted.skip} leaves none of {tasks} tasks; lower it")
    for key in wanted.metrics or ():
        if key not in having:
            raise UserError(f"compare.metrics: {key!r} is unknown here; there are {', '.join(sorted(having))}")
        if math.isnan(having[key].value):
            raise UserError(f"compare.metrics: {key} can have no value here: {having[key].reason}")


def compare(result: ExperimentResult, wanted: Compare) -> Comparison:
    """Compare the strategies of an experiment that passed `check`.

    Args:
        result: the experiment.
        wanted: settings of the comparison.
    """
    runs = result.runs
    labels = list(dict.fromkeys(run.strategy for run in runs))
    keys = wanted.metrics or (["op_final"] if all(map(scored, runs)) else ["op_final_nll"])
    left = [beyond(run, wanted.skip) for run in runs]
    measured = [(run, named(rest, result.retain, keys)) for run, rest in zip(runs, left, strict=True)]
    tables = {key: values(measured, key, wanted.unit) for key in keys}
    reasons = {key: [m[key].reason for _, m in measured if key in m and m[key].reason] for key in keys}
    why = {key: each[0] if each else "the tasks have no such scores" for key, each in reasons.items()}
    found = [_contrast(key, a, b, tables[key], why[key], wanted) for key in keys for a, b in declared(labels, wanted)]
    baseline = wanted.baseline or labels[0]
    return Comparison(
        baseline=baseline,
        unit=wanted.unit,
        units=list(tables[keys[0]][baseline]),
        alpha=wanted.alpha,
        level=wanted.level,
        contrasts=_judged(found, wanted.alpha),
        standings={key: _standings(measured, key, table, wanted) for key, table in tables.items()},
        groups={key: _groups(key, table, wanted) for key, table in tables.items()},
        costs=_costs(runs, labels, baseline),
        dependent=wanted.unit == "run" and min(len({run.seed for run in runs}), len({*map(_order, runs)})) > 1,
        transitions=changes(left, wanted.items or "strict"),
        probes=probed(runs, result.probes, wanted.skip),
    )


def values(measured: Measured, key: str, unit: str) -> Values:
    """A metric by strategy and unit: the mean over the runs of a unit, NaN if it is undefined in one of them.

    Args:
        measured: runs with their metrics.
        key: key of the metric.
        unit: `compare.unit`.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for run, having in measured:
        order = " > ".join(run.order)
        name = {"run": f"seed {run.seed}, {order}", "seed": f"seed {run.seed}", "order": order}[unit]
        found.setdefault(run.strategy, {}).setdefault(name, []).append(_value(having, key))
    return {label: {u: statistics.fmean(each) for u, each in units.items()} for label, units in found.items()}


def _value(having: Mapping[str, Metric], key: str) -> float:
    return having[key].value if key in having else math.nan


def _contrast(key: str, a: str, b: str, table: Values, why: str, wanted: Compare) -> Contrast:
    """Test one pair, before Holm's adjustment."""
    first, second = table[a], table[b]
    differences = {unit: first[unit] - second[unit] for unit in first}
    each = list(differences.values())
    if missing := [unit for unit, value in differences.items() if math.isnan(value)]:
        reason = f"{key} is undefined in {len(missing)} of {len(each)} units: {why}"
        return Contrast(key, a, b, differences, reason=reason)
    return Contrast(
        key, a, b, differences, statistics.fmean(each), interval(each, wanted.level, wanted.resamples), sign_flip(each),
        d_z=d_z(each), delta=cliffs_delta(list(first.values()), list(second.values())), verdict="not decided",
    )  # fmt: skip


def _judged(found: Sequence[Contrast], alpha: float) -> list[Contrast]:
    """The tests with Holm's adjusted p and their verdicts."""
    judged = []
    for contrast, adjusted in zip(found, holm([contrast.p for contrast in found]), strict=True):
        verdict = contrast.verdict
        if adjusted <= alpha:
            verdict = "better" if (contrast.mean < 0) == (better(contrast.metric) == "lower") else "worse"
        judged.append(replace(contrast, adjusted=adjusted, verdict=verdict))
    return judged


def _standings(measured: Measured, key: str, table: Values, wanted: Compare) -> list[Standing]:
    """All strategies, the best first and those without a value last."""
    whole = _whole(table)
    ranks = mean_ranks(whole, better(key)) if whole else {}
    orders = list(dict.fromkeys(tuple(run.order) for run, _ in measured))
    by_order = [values([each for each in measured if tuple(each[0].order) == order], key, "seed") for order in orders]
    found = []
    for label, each in table.items():
        bounds = interval(whole[label], wanted.level, wanted.resamples) if label in whole else NOTHING
        spread = sensitivity([list(of[label].values()) for of in by_order])
        found.append(Standing(label, each, statistics.fmean(each.values()), bounds, ranks.get(label, math.nan), spread))
    return sorted(found, key=lambda one: (math.isnan(one.rank), one.rank))


def _whole(table: Values) -> dict[str, list[float]]:
    """Values of the strategies that have one in every unit."""
    return {label: list(each.values()) for label, each in table.items() if not any(map(math.isnan, each.values()))}


def _groups(key: str, table: Values, wanted: Compare) -> list[list[str]]:
    """Maximal sets of strategies adjacent in mean rank of which no two differ (Benavoli et al. 2016)."""
    whole = _whole(table)
    ranks = mean_ranks(whole, better(key)) if whole else {}
    labels = sorted(whole, key=lambda label: ranks[label])
    pairs = list(itertools.combinations(labels, 2))
    tests = [sign_flip([x - y for x, y in zip(whole[a], whole[b], strict=True)]) for a, b in pairs]
    apart = {pair for pair, p in zip(pairs, holm(tests), strict=True) if p <= wanted.alpha}
    spans = [
        labels[i:j]
        for i, j in itertools.combinations(range(len(labels) + 1), 2)
        if j - i > 1 and not apart & set(itertools.combinations(labels[i:j], 2))
    ]
    return [span for span in spans if not any(set(span) < set(other) for other in spans)]


def _costs(runs: Sequence[RunResult], labels: Sequence[str], baseline: str) -> list[Cost]:
    """Mean costs of the strategies, also as multiples of the baseline's."""

    def mean(label: str, field: str) -> float:
        own = [run for run in runs if run.strategy == label]
        return statistics.fmean(sum(float(getattr(stage, field)) for stage in run.stages) for run in own)

    tokens, seconds = ({label: mean(label, field) for label in labels} for field in ("tokens", "seconds"))
    return [
        Cost(
            label,
            tokens[label],
            seconds[label],
            _ratio(tokens[label], tokens[baseline]),
            _ratio(seconds[label], seconds[baseline]),
            abs(_ratio(tokens[label], tokens[baseline]) - 1) <= MATCHED,
        )
        for label in labels
    ]


def _order(run: RunResult) -> tuple[str, ...]:
    return tuple(run.order)


def _ratio(value: float, of: float) -> float:
    return value / of if of else math.nan
