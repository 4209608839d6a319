"""Comparison of SEFE (arXiv 2505.02486) on a stream of text instructions: effect of answer styles and of RegLoRA.

    python experiments/sefe.py [--KEY=VALUE …]

Runs experiments/sefe.yaml, sefe_rivals.yaml and sefe_sweep.yaml (stored nodes are not trained again), then writes
results/sefe/table.md, sweep.md and plot.html: the metrics of each strategy as mean and 95 % t-interval over seeds and
orders, a verdict per claim, and the sweep of lambda, M and X.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import plotly.graph_objects as go
import script
from sefe_claims import Arm, arms, verdicts

from cl.commands import run
from cl.config import loading
from cl.metrics.records import ExperimentResult

HERE = Path(__file__).parent
HEADS = {
    "mft": "MFT",
    "mfn": "MFN",
    "maa": "MAA",
    "bwt": "BWT (T − 1)",
    "bwt_all": "BWT (T)",
    "superficial": "superficial",
    "essential": "essential",
}


def main(settings: list[str]) -> None:
    """Run the experiments, write tables and plot, print the tables."""
    found, folder = _run("sefe.yaml", settings)
    rivals, _ = _run("sefe_rivals.yaml", settings)
    lines = [f"- {claim}: **{verdict}** ({figures})" for claim, verdict, figures in verdicts(found)]
    _write(folder / "table.md", table(found | rivals) + "\n" + "\n".join(lines) + "\n")
    plot(found | rivals).write_html(folder / "plot.html", include_plotlyjs=True, config={"displayModeBar": False})
    swept, _ = _run("sefe_sweep.yaml", settings)
    _write(folder / "sweep.md", table(swept))


def _run(name: str, settings: list[str]) -> tuple[dict[str, Arm], Path]:
    """Run one experiment file; its arms and the folder of its results."""
    run.run(str(HERE / name), settings)
    chosen = loading.load(str(HERE / name), settings)
    folder = Path(chosen.output) / chosen.name
    return arms(ExperimentResult.load(folder / "results.json")), folder


def _write(path: Path, text: str) -> None:
    """Write a text to a file and print it."""
    path.write_text(text, encoding="utf-8")
    print(text)


def table(found: dict[str, Arm]) -> str:
    """The arms as a Markdown table; a dash for metrics that need a stream of tasks where there is none."""
    lines = [f"| run | {' | '.join(HEADS.values())} |", "|---" * (len(HEADS) + 1) + "|"]
    assert list(HEADS) == [field.name for field in fields(Arm)]
    for label, arm in found.items():
        cells = [str(getattr(arm, name)) for name in HEADS]
        lines.append(f"| {label} | " + " | ".join("–" if cell.startswith("nan") else cell for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def plot(found: dict[str, Arm]) -> go.Figure:
    """Forgotten form and content of each stream, stacked; their sum, the fall of the strict score, has the interval."""
    streams = {label: arm for label, arm in found.items() if arm.mft.mean == arm.mft.mean}
    figure = go.Figure()
    for part in ("superficial", "essential"):
        figure.add_bar(x=list(streams), y=[getattr(arm, part).mean for arm in streams.values()], name=part)
    figure.add_scatter(
        x=list(streams),
        y=[-arm.bwt.mean for arm in streams.values()],
        error_y={"array": [arm.bwt.half for arm in streams.values()]},
        mode="markers",
        marker={"color": "black"},
        name="together, with 95 % interval",
    )
    title = "Forgotten at the end of the stream, mean over earlier tasks"
    figure.update_layout(template="simple_white", title=title, barmode="relative", width=900, height=500)
    return figure.update_yaxes(title="fall of the strict score")


if __name__ == "__main__":
    script.run(main)
