"""Online adaptation (arXiv 2403.04317, protocol of CaMeLS): answers about documents that were read once, and bounds.

    python experiments/online.py [--KEY=VALUE …]

Runs online.yaml, then writes table.md and plot.html: F1 and both exact matches of each strategy, what its memory stores
and costs, the retention curve of the first documents, and a verdict per claim, over seeds with 95 % t-intervals. Other
settings are those of the experiment; stored nodes are not computed again. Differences are of pairs of runs with equal
seeds. The claims are ours: the papers' models and sets are not here, so no figure is comparable with theirs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import plotly.graph_objects as go
import script
from intervals import Interval

from cl.commands import run
from cl.config import loading
from cl.errors import UserError
from cl.metrics.records import ExperimentResult, RunResult

YAML = str(Path(__file__).with_suffix(".yaml"))
FIRST, LATER, UNREAD = "first", "later", "unread"
CLOSED, PLACEBO, ORACLE = "closed_book", "reading_random", "reading_oracle"
COLUMNS = (
    "strategy",
    "first: just read",
    "first: at the end",
    "later",
    "unread",
    "EM",
    "paper EM",
    "bytes",
    "ms to find",
    "ms to write",
)

Runs = Mapping[str, Sequence[RunResult]]
"""Runs by strategy, in the order of their seeds."""


def main(settings: list[str]) -> None:
    """Run the experiment, write table and plot, print the table."""
    run.run(YAML, settings)
    experiment = loading.load(YAML, settings)
    folder = Path(experiment.output) / experiment.name
    found = by_strategy(ExperimentResult.load(folder / "results.json"))
    if CLOSED not in found:
        raise UserError(f"strategies: {CLOSED} is what all others are compared with; keep it")
    lines = [f"- {claim}: **{verdict}** ({figures})" for claim, verdict, figures in verdicts(found)]
    text = table(found) + "\n" + retention_table(found) + "\n" + "\n".join(lines) + "\n"
    (folder / "table.md").write_text(text, encoding="utf-8")
    plot(found).write_html(folder / "plot.html", include_plotlyjs=True, config={"displayModeBar": False})
    print(text)


def by_strategy(result: ExperimentResult) -> Runs:
    """The runs of each strategy, in the order of their seeds."""
    found: dict[str, list[RunResult]] = {}
    for each in sorted(result.runs, key=lambda one: one.seed):
        found.setdefault(each.strategy, []).append(each)
    return found


def score(runs: Sequence[RunResult], name: str, row: int | None = None, key: str = "f1") -> Interval:
    """A score of a set in a row of R, over runs.

    Args:
        runs: runs of one strategy.
        name: name of the set.
        row: row of R; None: the last one.
        key: name of the score.
    """
    cells = (each.matrix[max(each.matrix) if row is None else row][name] for each in runs)
    return Interval(tuple(cell.scores[key] for cell in cells))


def read(runs: Sequence[RunResult], key: str = "f1") -> Interval:
    """Mean of a score over all that was read, at the end."""
    one, other = (score(runs, name, key=key).values for name in (FIRST, LATER))
    return Interval(tuple((a + b) / 2 for a, b in zip(one, other, strict=True)))


def table(found: Runs) -> str:
    """A line per strategy: F1 by set, exact matches, and the memory of the last row."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for label, runs in found.items():
        memory = [each.memory[max(each.memory)][FIRST] for each in runs if each.memory]
        stored = f"{memory[0]['bytes']:,.0f}" if memory else "0"
        spent = [_milliseconds(memory, key) for key in ("seconds", "seconds_to_write")]
        row = runs[0].order.index(FIRST) + 1
        values = [score(runs, FIRST, row), *(score(runs, name) for name in (FIRST, LATER, UNREAD))]
        exact = [read(runs, "em"), read(runs, "em_cut_to_reference")]
        lines.append(f"| {' | '.join([label, *map(str, [*values, *exact]), stored, *spent])} |")
    return "\n".join(lines) + "\n"


def _milliseconds(memory: Sequence[Mapping[str, float]], key: str) -> str:
    """Mean of seconds over the runs that have them, in milliseconds."""
    found = [each[key] for each in memory if key in each]
    return f"{1000 * sum(found) / len(found):.2g}" if found else ""


def retention(runs: Sequence[RunResult]) -> dict[int, Interval]:
    """F1 on the first documents' questions after each step of the later reading, over F1 right after the first.

    A run whose model answered nothing right after the first documents has no ratio: NaN. Empty without the probe.
    """
    if any("closed_book" not in each.probes for each in runs):
        return {}
    row = runs[0].order.index(FIRST) + 1
    steps = sorted({each.step for each in runs[0].inside if each.row == row + 1 and each.step is not None})
    end = runs[0].stages[-1].points[-1].step if len(runs[0].stages) > row else None
    found: dict[int, list[float]] = {}
    for each in runs:
        start = each.probes["closed_book"][row][FIRST]["f1"]
        values = {at.step: at.sets[FIRST]["f1"] for at in each.inside if at.row == row + 1 and at.step is not None}
        ends = {} if end is None else {end: each.probes["closed_book"][row + 1][FIRST]["f1"]}
        for step in steps if end is None else [*steps, end]:
            found.setdefault(step, []).append((values | ends)[step] / start if start else math.nan)
    return {step: Interval(tuple(values)) for step, values in found.items()}


def retention_table(found: Runs) -> str:
    """The retention curves of the strategies that train on documents."""
    curves = {label: retention(runs) for label, runs in found.items() if retention(runs)}
    if not curves:
        return ""
    steps = list(next(iter(curves.values())))
    lines = [f"| retention of {FIRST} after documents | {' | '.join(map(str, steps))} |"]
    lines.append("|---" * (len(steps) + 1) + "|")
    lines += [f"| {label} | {' | '.join(str(curve[step]) for step in steps)} |" for label, curve in curves.items()]
    return "\n".join(lines) + "\n"


def verdicts(found: Runs) -> list[tuple[str, str, str]]:
    """Claim, verdict and figures. A verdict is `yes` or `no` only if the interval over seeds excludes the other."""
    claims = [
        *((f"{label} answers more of what was read than closed book", label, CLOSED) for label in found),
        ("looking a document up beats a random one", "reading_bm25", PLACEBO),
        ("the oracle beats one pass of training", ORACLE, "constant"),
        ("a bank that reads 4 documents beats one that reads all", "mac_lite_top", "mac_lite"),
    ]
    made = []
    for claim, label, other in claims:
        if label != other and {label, other} <= found.keys():
            gap = read(found[label]) - read(found[other])
            made.append((claim, above(gap), f"F1 difference {gap}"))
    return made


def above(gap: Interval) -> str:
    """Whether a difference is above 0."""
    if len(gap.values) < 2:
        return "one seed"
    if gap.mean - gap.half > 0:
        return "yes"
    return "no" if gap.mean + gap.half < 0 else "not shown"


def plot(found: Runs) -> go.Figure:
    """Retention of the first documents by number of later documents."""
    figure = go.Figure()
    for label, runs in found.items():
        if curve := retention(runs):
            values = list(curve.values())
            halves = [0.0 if math.isnan(each.half) else each.half for each in values]
            figure.add_scatter(x=list(curve), y=[each.mean for each in values], error_y={"array": halves}, name=label)
    figure.update_layout(xaxis_title="later documents", yaxis_title="F1 over F1 right after the first documents")
    title = "Retention of the first documents"
    return figure.update_layout(template="simple_white", title=title, width=900, height=500)


if __name__ == "__main__":
    script.run(main)
