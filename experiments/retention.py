"""Recognition, recall and retention (arXiv 2303.17557): what is kept of studied texts while other text is learned.

    python experiments/retention.py [--forms=sentences,words,gibberish] [--draws=4] [--fresh] [--KEY=VALUE …]

Runs retention.yaml for each form of text and each draw of passages, or with --fresh retention_fresh.yaml, whose model
first learns prose. Then writes table.md and plot.html: figures by step as mean and 95 % t-interval over draws, and a
verdict per claim. Other settings are those of the experiment; stored nodes are not computed again.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import script
import yaml
from retention_claims import Curves, verdicts

from cl import registry
from cl.commands import run
from cl.config import loading
from cl.errors import UserError
from cl.metrics.records import ExperimentResult

HERE = Path(__file__).parent


def main(settings: list[str]) -> None:
    """Run the experiments, write table and plot, print the table."""
    own, settings = _own(settings)
    name = "retention_fresh" if own["fresh"] else "retention"
    forms, draws = str(own["forms"]).split(","), range(int(str(own["draws"])))
    folder = Path(loading.load(str(HERE / f"{name}.yaml"), settings).output) / name
    found = {form: Curves([_run(name, form, draw, folder, settings) for draw in draws]) for form in forms}
    lines = [f"- {claim}: **{verdict}** ({figures})" for claim, verdict, figures in verdicts(found)]
    text = table(found) + "\n" + "\n".join(lines) + "\n"
    (folder / "table.md").write_text(text, encoding="utf-8")
    plot(found).write_html(folder / "plot.html", include_plotlyjs=True, config={"displayModeBar": False})
    print(text)


def _own(settings: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The settings of this script, and the others."""
    own: dict[str, Any] = {"forms": "sentences,words,gibberish", "draws": 4, "fresh": False}
    left = []
    for setting in settings:
        key, _, value = setting.removeprefix("--").partition("=")
        if key in own:
            own[key] = value or True
        else:
            left.append(setting)
    if not str(own["draws"]).isdigit() or own["draws"] == "0":
        raise UserError(f"draws: {own['draws']} must be a whole number of at least 1")
    return own, left


def _run(name: str, form: str, draw: int, folder: Path, settings: list[str]) -> ExperimentResult:
    """Run the experiment on one draw of one form of passages."""
    content = copy.deepcopy(registry.read("scenarios", name))
    content["tasks"]["study"]["sources"][0] |= {"form": form, "draw": draw}
    scenario = folder / "scenarios" / f"{form}-{draw}.yaml"
    scenario.parent.mkdir(parents=True, exist_ok=True)
    scenario.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    chosen = [f"--scenario={scenario}", f"--name={name}-{form}-{draw}", *settings]
    run.run(str(HERE / f"{name}.yaml"), chosen)
    output = Path(loading.load(str(HERE / f"{name}.yaml"), chosen).output)
    return ExperimentResult.load(output / f"{name}-{form}-{draw}" / "results.json")


def table(found: dict[str, Curves]) -> str:
    """The curves as a Markdown table: a line per form and measure, a column per state."""
    states = next(iter(found.values())).states
    lines = [f"| form | measure | {' | '.join(states)} |", "|---|---|" + "---|" * len(states)]
    for form, curves in found.items():
        for measure in ("recognised", "rouge_l", "exact", "twin"):
            cells = " | ".join(str(curves.at(measure, state)) for state in states)
            lines.append(f"| {form} | {measure} | {cells} |")
    return "\n".join(lines) + "\n"


def plot(found: dict[str, Curves]) -> go.Figure:
    """Recognition and recall by state, a line per form."""
    figure = go.Figure()
    for form, curves in found.items():
        for measure, dash in (("recognised", "solid"), ("rouge_l", "dot")):
            points = [curves.at(measure, state) for state in curves.states]
            figure.add_scatter(
                x=list(curves.states),
                y=[point.mean for point in points],
                error_y={"array": [point.half for point in points]},
                name=f"{form}, {measure}",
                line={"dash": dash},
            )
    title = "Recognition (solid) and recall (dotted) of what was studied: mean and 95 % interval over draws"
    return figure.update_layout(template="simple_white", title=title, width=900, height=600)


if __name__ == "__main__":
    script.run(main)
