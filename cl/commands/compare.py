"""`cl compare`: statistical comparison of strategies over seeds and task orders."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from cl.commands import run
from cl.commands.shared import build_graph, compare_with_store, console, deliver
from cl.errors import UserError

if TYPE_CHECKING:
    from cl.commands.shared import Planned
    from cl.config.compare import Compare
    from cl.execution.store import Store
    from cl.graph.planner import Graph
    from cl.metrics.answer_tests import ItemContrast
    from cl.metrics.comparison_result import Comparison
    from cl.metrics.records import ExperimentResult


def compare(name: str, settings: list[str]) -> None:
    """Run an experiment as `cl run` does, then run its declared comparison: print it, write and track its files.

    Args:
        name: name or path of the experiment.
        settings: settings of the command line.
    """
    from cl.config import nested
    from cl.metrics import comparison, disclosure
    from cl.reporting.html import comparison as report

    graph = build_graph(name, settings)
    wanted, asked = graph.experiment, checked(graph)
    planned = compare_with_store(graph, protect=True)
    result = run.execute(planned, ["compare", name, *settings])
    if result is None:  # submitted as jobs; the last job compares
        return
    found = comparison.compare(result, asked)
    single = _single(result, planned.store, asked)
    folder = Path(wanted.output) / wanted.name
    page, file, record = (folder / f"comparison.{end}" for end in ("html", "json", "yaml"))
    disclosed = disclosure.text(disclosure.record(result, found, "; ".join(result.notes) or None, single))
    record.write_text(disclosed, encoding="utf-8")
    plain = nested.plain(dataclasses.asdict(found) | {"items": [dataclasses.asdict(one) for one in single]})
    file.write_text(json.dumps(plain, indent=1, allow_nan=False), encoding="utf-8")
    report.write(result.question or result.name, found, disclosed, result.notes, page, single)
    _show(found, single, [page, file, record])
    _track(planned, result, found, [page, file, record])


def _single(result: ExperimentResult, store: Store, asked: Compare) -> list[ItemContrast]:
    """Tests of single answers; empty if the experiment declares none."""
    from cl.execution import answers
    from cl.metrics import answer_tests, comparison

    if asked.items is None:
        return []
    answered = answers.after_the_last_task(result.runs, store, asked.items, asked.skip)
    pairs = comparison.declared(list(dict.fromkeys(run.strategy for run in result.runs)), asked)
    return answer_tests.contrasts(answered, pairs, asked)


def checked(graph: Graph) -> Compare:
    """The comparison that an experiment declares, without the tasks on which `cl tune` chose values.

    Raises:
        UserError: for a comparison that is not possible.
    """
    from cl.metrics import comparison, continual
    from cl.tasks.task import ANSWERED

    wanted, defined = graph.experiment, graph.scenario
    asked, tuned = wanted.compare, wanted.tuned
    if tuned and tuned.skip > asked.skip:  # tasks on which values were chosen are no evidence for the values
        asked = dataclasses.replace(asked, skip=tuned.skip)
    tasks = min(len(defined.tasks), wanted.upto or len(defined.tasks))
    scored = wanted.evaluation.items > 0 and all(task.kind in ANSWERED for task in defined.tasks.values())
    left, known = max(1, tasks - asked.skip), max(0, len(wanted.model.knows) - asked.skip)
    having = continual.defined(left, len(defined.retain), known, scored, asked.metrics or ())
    comparison.check(list(wanted.strategies), tasks, asked, having)
    if asked.items is not None and not scored:
        raise UserError(
            f"compare.items: {asked.items} is a score of answers, and not all tasks are answered here; leave it out"
        )
    return asked


def _show(found: Comparison, single: list[ItemContrast], files: list[Path]) -> None:
    """Print the comparison and the paths of its files."""
    from cl.metrics.run_metrics import better
    from cl.reporting.html import comparison as report
    from cl.reporting.html.transitions import terminal_table

    for metric in found.standings:
        console.print(f"\n[bold]{escape(metric)}[/], {better(metric)} is better")
        console.print(report.standings_table(metric, found))
        console.print()
        console.print(report.contrasts_table(metric, found))
    if found.transitions:
        console.print("\n[bold]answers forgotten and gained[/], share of questions (beyond chance)")
        console.print(terminal_table(found.transitions))
    for title, own in report.by_title(found.probes).items():
        console.print(f"\n[bold]{escape(title)}[/], {escape(own[0].unit)}")
        console.print(report.probes_table(own))
    unmatched = [cost.strategy for cost in found.costs if not cost.matched]
    if unmatched:
        console.print(f"[yellow]trained on other numbers of tokens than {found.baseline}: {', '.join(unmatched)}[/]")
    colour = "yellow" if found.dependent or not found.can_be_significant else "dim"
    console.print(f"[{colour}]{escape(found.power)}[/]")
    for contrast in found.contrasts:
        if contrast.reason:
            console.print(f"[yellow]{escape(contrast.a)} - {escape(contrast.b)}: {escape(contrast.reason)}[/]")
    for one in single:
        console.print(escape(one.sentence))
    for label, file in zip(("page", "results", "record"), files, strict=True):
        console.print(f"{label:8} {escape(str(file))}")


def _track(planned: Planned, result: ExperimentResult, found: Comparison, files: list[Path]) -> None:
    """Track the comparison as an MLflow run; its key is the hash of the compared runs and the declaration."""
    from cl.hashing import digest
    from cl.reporting.mlflow_values import Beside

    key = digest([[run.key for run in result.runs], result.config["compare"]])
    figures: dict[str, float] = {}
    for one in found.contrasts:
        each = {"mean": one.mean, "p": one.p, "holm": one.adjusted, "d_z": one.d_z, "delta": one.delta}
        where = f"compare/{one.metric}/{one.a}-{one.b}"
        figures |= {f"{where}/{name}": value for name, value in each.items() if not math.isnan(value)}
    params: dict[str, Any] = {
        "unit": found.unit,
        "units": len(found.units),
        "baseline": found.baseline,
        "power": found.power,
    }
    params["notes"] = "; ".join(result.notes)
    deliver(planned.graph.experiment, planned.store, [Beside("comparison", key, params, figures, files)])
