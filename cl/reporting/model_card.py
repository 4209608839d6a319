"""The card of an exported model: what it learned, how, what it remembers, and whose data it has seen."""

from __future__ import annotations

import json
import math

from cl.metrics.records import Cell, DataResult, ExperimentResult, RunResult
from cl.metrics.run_metrics import adaptation, forgetting
from cl.redaction import without_secrets


def card(result: ExperimentResult, row: int, library: str, base: str | None) -> str:
    """The card of the model of a row of R, as Markdown with the hub's header.

    Args:
        result: an experiment with one run.
        row: the row of R whose model was exported.
        library: `transformers` or `peft`.
        base: the model it was made from, as the hub or a path names it. None: it began with random weights.
    """
    (run,) = result.runs
    learned = run.order[: run.known + row] if not run.known else run.order[:row]
    parts = [
        _header(library, base),
        f"# {result.model}, after {' > '.join(learned) or 'nothing'}",
        f"{result.parameters:,} parameters. Strategy **{run.strategy}**: {run.summary}. Seed {run.seed}.",
        f"## Stream\n\nScenario `{result.scenario}` v{result.scenario_version}: {' > '.join(run.order)}. "
        f"The model is the state after {row} of {len(run.order)} tasks.",
        _method(run),
        _matrix(result, run),
        _data(result, [*learned, *_seen(run, learned)]),
        _made(result),
    ]
    return "\n\n".join(parts) + "\n"


def _header(library: str, base: str | None) -> str:
    """The YAML header that the hub reads."""
    lines = ["---", f"library_name: {library}", "tags: [continual-learning]", "pipeline_tag: text-generation"]
    return "\n".join([*lines, *([f"base_model: {json.dumps(base)}"] if base else []), "---"])


def _method(run: RunResult) -> str:
    """Methods with their settings."""
    lines = [f"- `{name}`: `{json.dumps(values)}`" for each in run.settings for name, values in each.items()]
    return "## Methods\n\n" + ("\n".join(lines) or "none")


def _matrix(result: ExperimentResult, run: RunResult) -> str:
    """R as tables: losses, and strict scores where answers are scored; forgetting below."""
    names = [name for name in result.data if any(name in cells for cells in run.matrix.values())]
    told = ["## What it remembers\n\nLoss on test data in nats/token (R), after each task:", _table(run, names, _loss)]
    if any(cell.scores for cells in run.matrix.values() for cell in cells.values()):
        told += ["Strict score:", _table(run, names, _score)]
    figures = (("Forgetting", forgetting(run)), ("New tasks, mean loss after learning them", adaptation(run)))
    told += [f"{name}: {metric.value:.3f} nats/token." for name, metric in figures if not math.isnan(metric.value)]
    return "\n\n".join(told)


def _loss(cell: Cell) -> str:
    return f"{cell.loss:.3f}"


def _score(cell: Cell) -> str:
    return f"{cell.scores['strict']:.3f}" if "strict" in cell.scores else ""


def _table(run: RunResult, names: list[str], value: object) -> str:
    """A table with a line per row of R."""
    lines = [f"| after | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for t, cells in sorted(run.matrix.items()):
        shown = [value(cells[name]) if name in cells else "" for name in names]  # type: ignore[operator]
        lines.append(f"| {run.order[t - 1] if t else 'nothing'} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _seen(run: RunResult, learned: list[str]) -> list[str]:
    """Further sets that the stages read, such as general text that was mixed in."""
    read = [key.rpartition(":")[2] for stage in run.stages for key in stage.seen]
    return [name for name in dict.fromkeys(read) if name not in run.order and name not in learned]


def _data(result: ExperimentResult, names: list[str]) -> str:
    """Sources and licences of the data that the model was trained on."""
    lines = ["## Training data", "", "| set | sources | licence |", "|---|---|---|"]
    for name in names:
        found: DataResult | None = result.data.get(name)
        if found is not None:
            lines.append(f"| {name} | {'; '.join(found.sources)} | {found.licence or 'not stated'} |")
    return "\n".join(lines) + "\n\nThe licence of the base model holds as well."


def _made(result: ExperimentResult) -> str:
    """Versions and the command."""
    versions = ", ".join(f"{name} {value}" for name, value in sorted(result.environment.items()))
    config = json.dumps(without_secrets(result.config), indent=1, default=str)
    return (
        f"## How it was made\n\n    {result.command}\n\n{versions}\n\n"
        f"<details><summary>All settings</summary>\n\n```json\n{config}\n```\n\n</details>"
    )
