"""Figures of probes over the rows of R: means over data sets and runs, for all sets or for a part of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cl.metrics.records import Measure, RunResult


def _just_learned(run: RunResult, t: int, name: str) -> bool:
    """Whether a set was learned between row t of R and the row before it."""
    before = max((row for row in run.matrix if row < t), default=run.known)
    return name in run.order[before:t]


def _outside(run: RunResult, t: int, name: str) -> bool:
    """Whether a set is no task of the stream: a retain or general set."""
    return name not in run.order


PARTS: dict[str, Callable[[RunResult, int, str], bool]] = {
    "the new task": _just_learned,
    "sets outside of the stream": _outside,
}
"""Parts of the data sets that a measure is told apart by (`Measure.apart`): of a run and a row of R, which sets."""


@dataclass(frozen=True)
class Probed:
    """One measure of a probe, of one strategy.

    Args:
        strategy: label of the strategy.
        probe: label of the probe.
        measure: key of the measure.
        unit: unit of the measure.
        part: which data sets, one of `PARTS`; None: all.
        rows: by row of R, the mean over data sets and runs; rows without a value are absent.
    """

    strategy: str
    probe: str
    measure: str
    unit: str
    part: str | None
    rows: dict[int, float]

    @property
    def title(self) -> str:
        """What is measured, on which data sets."""
        return f"{self.probe}: {self.measure}" + (f" on {self.part}" if self.part else "")


def parts(measure: Measure) -> Sequence[str | None]:
    """The parts of the data sets by which a measure is shown."""
    return tuple(PARTS) if measure.apart else (None,)


def drawn(measures: Sequence[Measure]) -> list[Measure]:
    """The measures that have a picture and a column of their own: those that are no axis or interval of another."""
    beside = {axis for measure in measures for pair in measure.axes for axis in pair}
    beside |= {measure.null for measure in measures if measure.null is not None}
    return [measure for measure in measures if measure.key not in beside]


def over_rows(
    runs: Sequence[RunResult], label: str, key: str, part: str | None = None, skip: int = 0
) -> dict[int, float]:
    """A measure by row of R: the mean over the data sets of the row and over the runs that have it.

    Args:
        runs: runs of one strategy.
        label: label of the probe.
        key: key of the measure.
        part: which data sets, one of `PARTS`; None: all.
        skip: number of first tasks that are left out, with the rows of learning them.
    """
    found: dict[int, list[float]] = {}
    for run in runs:
        for t, sets in run.probes.get(label, {}).items():
            for name, values in sets.items():
                asked = part is None or PARTS[part](run, t, name)
                if key in values and asked and t >= skip and name not in run.order[:skip]:
                    found.setdefault(t, []).append(values[key])
    return {t: statistics.fmean(values) for t, values in sorted(found.items())}


def probed(runs: Sequence[RunResult], probes: Mapping[str, Sequence[Measure]], skip: int = 0) -> list[Probed]:
    """All measures of all probes, measure by measure and strategy by strategy; without those that have no value.

    Args:
        runs: all runs.
        probes: by label, what each probe measures.
        skip: number of first tasks that are left out.
    """
    asked = [(label, each, part) for label, own in probes.items() for each in own for part in parts(each)]
    found = []
    for label, measure, part in asked:
        for strategy in dict.fromkeys(run.strategy for run in runs):
            own = [run for run in runs if run.strategy == strategy]
            rows = over_rows(own, label, measure.key, part, skip)
            found.append(Probed(strategy, label, measure.key, measure.unit, part, rows))
    return [each for each in found if each.rows]
