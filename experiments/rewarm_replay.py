"""Table 2 of arXiv 2403.08763 (replay after a strong shift) at small scale, and the paper's claims on re-warming.

    python experiments/rewarm_replay.py [--KEY=VALUE …]

Runs experiments/rewarm_replay.yaml (stored nodes are not trained again), then writes results/rewarm_replay/table.md and
plot.html: final test losses by replay share as mean and 95 % t-interval over seeds, and a verdict per claim.
"""

from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go
import script
from rewarm_claims import Arm, arms, verdicts

from cl.commands import run
from cl.config import loading
from cl.metrics.records import ExperimentResult

HERE = Path(__file__).parent
PAPER = {  # 405M, Pile -> German, (Pile, German), Table 2
    "replay_0": (3.56, 1.11),
    "replay_1": (2.83, 1.12),
    "replay_5": (2.57, 1.12),
    "replay_25": (2.33, 1.16),
    "replay_50": (2.24, 1.22),
    "union": (2.26, 1.25),
}


def main(settings: list[str]) -> None:
    """Run the experiment, write table and plot, print the table."""
    name = str(HERE / "rewarm_replay.yaml")
    run.run(name, settings)
    chosen = loading.load(name, settings)
    folder = Path(chosen.output) / chosen.name
    found = arms(ExperimentResult.load(folder / "results.json"))
    lines = [f"- {claim}: **{verdict}** ({figures})" for claim, verdict, figures in verdicts(found)]
    text = table(found) + "\n" + "\n".join(lines)
    (folder / "table.md").write_text(text + "\n", encoding="utf-8")
    plot(found).write_html(folder / "plot.html", include_plotlyjs=True, config={"displayModeBar": False})
    print(text)


def table(found: dict[str, Arm]) -> str:
    """Losses as a Markdown table, with the paper's losses in the last columns."""
    lines = ["| run | English | German | mean | paper: Pile | paper: German |", "|---|---|---|---|---|---|"]
    for label, arm in found.items():
        paper = " | ".join(f"{value:.2f}" for value in PAPER[label]) if label in PAPER else "– | –"
        lines.append(f"| {label} | {arm.english} | {arm.german} | {arm.mean} | {paper} |")
    return "\n".join(lines) + "\n"


def plot(found: dict[str, Arm]) -> go.Figure:
    """German loss against English loss with intervals, for each arm that learns German; replay shares are joined."""
    path = [label for label in found if label.startswith("replay_")]
    others = [label for label in found if label not in path and label != "rewarm_on_english"]
    figure = go.Figure()
    for labels, mode, place in ((path, "lines+markers+text", "bottom"), (others, "markers+text", "top")):
        points = [found[label] for label in labels]
        figure.add_scatter(
            x=[p.english.mean for p in points],
            y=[p.german.mean for p in points],
            mode=mode,
            text=labels,
            textposition=f"{place} center",
            showlegend=False,
            error_x={"array": [p.english.half for p in points]},
            error_y={"array": [p.german.half for p in points]},
        )
    title = "After English, then German: test loss, mean and 95 % interval over seeds"
    figure.update_layout(template="simple_white", title=title, width=900, height=600)
    return figure.update_xaxes(title="English, nats/token").update_yaxes(title="German, nats/token")


if __name__ == "__main__":
    script.run(main)
