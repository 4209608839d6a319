"""Mix-CPT (arXiv 2407.10804) and its references on a small domain: learning, retention, alignment by few examples.

    python experiments/mix_cpt.py [--KEY=VALUE …]

Runs experiments/mix_cpt.yaml (stored nodes are not trained again), then writes results/mix_cpt/table.md and plot.html:
values before and after each part, mean and 95 % t-interval over seeds, and a verdict per claim on differences over the
same seeds. A claim holds if the interval of its difference lies above its bound, fails if the interval lies below, and
is not decided otherwise. The bounds are ours: the paper's own figures were not read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import plotly.graph_objects as go
import script
from intervals import Interval

from cl.commands import run as commands
from cl.config import loading
from cl.metrics.records import Cell, ExperimentResult, RunResult

HERE = Path(__file__).parent
NEAR = 0.05  # difference in nats per token, or in the share of answers, that counts as "about equal"
COLUMNS: dict[str, tuple[str, Callable[[Cell], float]]] = {
    "domain loss": ("medicine", lambda cell: cell.nll / cell.tokens),
    "domain answers, nats": ("findings", lambda cell: cell.nll / cell.tokens),
    "domain answers right": ("findings", lambda cell: cell.scores["strict"]),
    "form forgiven": ("findings", lambda cell: cell.scores["normalised"]),
    "general loss": ("english", lambda cell: cell.nll / cell.tokens),
    "general answers, nats": ("instructions", lambda cell: cell.nll / cell.tokens),
    "general answers right": ("instructions", lambda cell: cell.scores["strict"]),
}
Arm = dict[str, Interval]


def arms(runs: Sequence[RunResult]) -> dict[str, Arm]:
    """Final values of each strategy over seeds, and `before`: the values of the model before any training."""
    labels = list(dict.fromkeys(run.strategy for run in runs))
    by_label = {label: [run for run in runs if run.strategy == label] for label in labels}
    return {"before": _arm(by_label[labels[0]], 0)} | {label: _arm(own, 1) for label, own in by_label.items()}


def _arm(runs: Sequence[RunResult], row: int) -> Arm:
    """Values of one row of R over the runs."""
    cells = [run.matrix[row] for run in runs]
    return {column: Interval(tuple(of(cell[name]) for cell in cells)) for column, (name, of) in COLUMNS.items()}


def verdicts(found: dict[str, Arm]) -> list[tuple[str, str, str]]:
    """(claim, verdict, figures) for each claim.

    A claim says that a column of the first arm exceeds that of the second arm by more than a bound; the bound is -NEAR
    for claims of "about equal".
    """
    checked = [
        ("mixture and distillation keep general text better than plain training", "general loss",
         "rewarm", "mixture_distilled", 0.0),
        ("at about the same domain loss", "domain loss", "rewarm", "mixture_distilled", -NEAR),
        ("distillation keeps general text better than the mixture alone", "general loss",
         "mixture", "mixture_distilled", 0.0),
        ("the swap learns the domain better than plain distillation", "domain loss",
         "mixture_plain", "mixture_distilled", 0.0),
        ("and its answers", "domain answers, nats", "mixture_plain", "mixture_distilled", 0.0),
        ("the swap learns the domain better than the dual loss", "domain loss", "mol", "mixture_distilled", 0.0),
        ("few examples align as well as all: general answers", "general answers right",
         "mix_cpt", "mix_cpt_all", -NEAR),
        ("few examples align as well as all: domain answers", "domain answers right",
         "mix_cpt", "mix_cpt_all", -NEAR),
        ("Mix-CPT answers the domain better than plain training aligned on all", "domain answers right",
         "mix_cpt", "cpt_aligned", 0.0),
    ]  # fmt: skip
    return [
        _verdict(claim, column, found[minuend][column] - found[subtrahend][column], bound)
        for claim, column, minuend, subtrahend, bound in checked
    ]


def _verdict(claim: str, column: str, gain: Interval, bound: float) -> tuple[str, str, str]:
    """Whether a difference lies above a bound."""
    low, high = gain.mean - gain.half, gain.mean + gain.half
    verdict = "holds" if low > bound else "fails" if high < bound else "not decided"
    return claim, verdict, f"{column}: {gain}, bound {bound:g}"


def table(found: dict[str, Arm]) -> str:
    """The arms as a Markdown table."""
    lines = [f"| run | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for label, arm in found.items():
        lines.append(f"| {label} | " + " | ".join(str(arm[column]) for column in COLUMNS) + " |")
    return "\n".join(lines) + "\n"


def plot(found: dict[str, Arm]) -> go.Figure:
    """Loss on the domain against loss on general text: lower = learned more, further left = kept more."""
    figure = go.Figure()
    for label, arm in found.items():
        kept, learned = arm["general loss"], arm["domain loss"]
        bars = {"error_x": {"array": [kept.half]}, "error_y": {"array": [learned.half]}}
        figure.add_scatter(x=[kept.mean], y=[learned.mean], name=label, **bars)
    title = "What is learned (down) and what is kept (left), nats per token with 95 % intervals"
    figure.update_layout(template="simple_white", title=title, width=900, height=500)
    return figure.update_xaxes(title="general English").update_yaxes(title="medical definitions")


def main(settings: list[str]) -> None:
    """Run the experiment, write table and plot, print the table."""
    path = str(HERE / "mix_cpt.yaml")
    commands.run(path, settings)
    chosen = loading.load(path, settings)
    folder = Path(chosen.output) / chosen.name
    found = arms(ExperimentResult.load(folder / "results.json").runs)
    lines = [f"- {claim}: **{verdict}** ({figures})" for claim, verdict, figures in verdicts(found)]
    text = table(found) + "\n" + "\n".join(lines) + "\n"
    (folder / "table.md").write_text(text, encoding="utf-8")
    plot(found).write_html(folder / "plot.html", include_plotlyjs=True, config={"displayModeBar": False})
    print(text)


if __name__ == "__main__":
    script.run(main)
