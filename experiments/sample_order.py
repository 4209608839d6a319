"""Quality of ranking batch orders without retraining, by learning rate, length and seed (arXiv 2505.22042).

    python experiments/sample_order.py [--KEY=VALUE …]

Validates each strategy of experiments/sample_order.yaml with 16 batches, and the strategies with a fresh optimizer per
task also with 32 (stored nodes are not trained again). Writes results/sample_order/table.md, signals.md and plot.html:
agreement with 30 real orders per run as mean and range over seeds, the cost of each answer, and the signals without
retraining next to the rank correlations that they should predict.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import script

from cl.commands import order
from cl.config import loading

HERE = Path(__file__).parent
LONGER = "--tokens={news: 512000, medicine: 8192, religion: 8192, code: 8192, conversation: 8192}"
SHOWN = ("secant, forward", "secant, quadratic", "setadd", "grid0", "reuse", "FUT, 0", "FUT, 1", "ridge")
COLUMNS = {"spearman": "Spearman", "by_sample": "by sample", "path": "path error", "error": "error, nats",
           "constant": "a constant's", "regret": "regret"}  # fmt: skip
Answers = dict[str, list[Mapping[str, Any]]]
"""The answers of all seeds, by setting."""


def main(settings: list[str]) -> None:
    """Validate every setting, write tables and plot, print the tables."""
    path = str(HERE / "sample_order.yaml")
    chosen = loading.load(path, settings)
    found: Answers = {}
    for label in chosen.strategies:
        for batches, own in ((16, []), (32, [LONGER])):
            if batches == 16 or label.startswith("reset"):
                setting = f"{label}, {batches} batches"
                name = setting.replace(", ", "_").replace(" ", "_")
                found[setting] = validate(path, [*settings, *own, f"--order.strategy={label}"], name)
    folder = Path(chosen.output) / chosen.name
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"table.md": table(found), "signals.md": signals(found)}.items():
        (folder / name).write_text(text, encoding="utf-8")
        print(text)
    plot(found).write_html(folder / "plot.html", include_plotlyjs=True, config={"displayModeBar": False})


def validate(path: str, settings: list[str], name: str) -> list[Mapping[str, Any]]:
    """The answers of `cl order validate`, one per run, written under results/NAME.

    Args:
        path: path of the experiment.
        settings: settings of the command line.
        name: NAME of the folder.
    """
    chosen = loading.load(path, settings)
    output = Path(chosen.output) / name
    order.order("validate", path, [*settings, f"--output={output}"])
    answers = json.loads((output / chosen.name / "order_validate.json").read_text(encoding="utf-8"))
    return list(answers["answers"].values())


def rows_of(answers: Sequence[Mapping[str, Any]], estimator: str) -> list[Mapping[str, Any]]:
    """The row of an estimator in each answer that has it; `estimator` is the beginning of its name."""
    return [row for answer in answers for row in answer["agreement"] if row["name"].startswith(estimator)]


def spread(values: Iterable[float | None], digits: int = 2) -> str:
    """Mean and range over seeds; a dash if a value is missing."""
    known = list(values)
    if not known or any(value is None for value in known):
        return "–"
    numbers = [float(value) for value in known if value is not None]
    mean, low, high = (f"{value:.{digits}f}" for value in (statistics.fmean(numbers), min(numbers), max(numbers)))
    return f"{mean} ({low} to {high})"


def table(found: Answers) -> str:
    """Agreement of each estimator in each setting, as Markdown."""
    lines = [f"| setting | estimator | {' | '.join(COLUMNS.values())} |", "|---" * (len(COLUMNS) + 2) + "|"]
    for setting, answers in found.items():
        for estimator in SHOWN:
            rows = rows_of(answers, estimator)
            digits = {"error": 4, "constant": 4}
            figures = [spread([row[key] for row in rows], digits.get(key, 2)) for key in COLUMNS]
            lines.append(f"| {setting} | {estimator} | {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"


def signals(found: Answers) -> str:
    """Signals of each run and the real rank correlation of both readouts, as Markdown, sorted by the defect."""
    heads = ("setting", "defect", "held out", "residual", "forward", "quadratic", "auto chose", "preparation",
             "orders per retraining", "break-even")  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    every = [(setting, answer) for setting, answers in found.items() for answer in answers]
    for setting, answer in sorted(every, key=lambda one: float(one[1]["fidelity"]["defect"])):
        told, cost = answer["fidelity"], answer["cost"]
        ranks = [rows_of([answer], f"secant, {readout}")[0]["spearman"] for readout in ("forward", "quadratic")]
        figures = [told["defect"], told["held_out"], told["residual"], *(math.nan if r is None else r for r in ranks)]
        costs = [cost["preparation"], cost["orders_per_retraining"], cost["break_even"]]
        cells = [*(f"{x:.2f}" for x in figures), answer["readout"], *(f"{x:.0f}" for x in costs)]
        lines.append(f"| {setting} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(found: Answers) -> go.Figure:
    """Rank correlation of each estimator by setting, one point per seed."""
    figure = go.Figure()
    for estimator in SHOWN:
        pairs = [
            (setting, row["spearman"]) for setting, answers in found.items() for row in rows_of(answers, estimator)
        ]
        x, y = [setting for setting, _ in pairs], [value for _, value in pairs]
        figure.add_scatter(x=x, y=y, name=estimator, mode="markers", marker={"size": 9, "opacity": 0.8})
    title = "Spearman of estimated and real losses, 30 orders a point"
    figure.update_layout(template="simple_white", title=title, width=1000, height=480)
    return figure.update_yaxes(range=[-1.05, 1.05])


if __name__ == "__main__":
    script.run(main)
