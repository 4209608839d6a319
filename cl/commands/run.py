"""`cl run`: execute the missing nodes of an experiment, then report."""

from __future__ import annotations

import contextlib
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from cl.commands.shared import build_graph, compare_with_store, console, quiet, tracker_of

if TYPE_CHECKING:
    from cl.commands.shared import Planned
    from cl.metrics.records import ExperimentResult
    from cl.reporting.mlflow import Tracker


def run(name: str, settings: list[str]) -> ExperimentResult | None:
    """Execute the missing nodes of an experiment, then report: terminal table, HTML, results.json, MLflow.

    Args:
        name: name or path of the experiment.
        settings: settings of the command line.

    Returns:
        The result. None: the nodes were submitted as jobs; the last job reports.
    """
    return execute(compare_with_store(build_graph(name, settings), protect=True), ["run", name, *settings])


def execute(planned: Planned, command: list[str]) -> ExperimentResult | None:
    """Execute the missing nodes of a planned experiment, then report.

    Args:
        planned: the experiment.
        command: arguments of `cl`.

    Returns:
        The result. None: the nodes were submitted as jobs; the last job reports.
    """
    from cl.execution import collect
    from cl.execution.launchers import launcher
    from cl.reporting.html import page
    from cl.reporting.html.figures import figures
    from cl.reporting.terminal import ProgressListener

    graph, store, todo = planned.graph, planned.store, planned.todo
    started = time.monotonic()
    with tracker_of(graph.experiment, store, graph.runs) as tracker:
        listener = ProgressListener(console, todo, planned.cost, tracker.point if tracker else None)
        where = launcher.of(graph.experiment)
        with quiet(), listener.bars if todo and where.waits else contextlib.nullcontext():
            again = [*command, *graph.resolved_settings]  # another machine must not resolve `auto` differently
            submitted = where.launch(todo, store, listener, again) if todo else None
        if submitted is not None:
            console.print(escape(submitted))
            return None
        if tracker is not None:
            tracker.close()  # plotly inspects modules that the tracker's thread may have imported in part
        typed = " ".join(["cl", command[0], *map(shlex.quote, command[1:])])
        result = collect.collect(graph, store, listener.executed, time.monotonic() - started, typed)
        folder = collect.results_folder(graph)
        collect.save(result, folder)
        made = figures(result)
        page.write(result, made, folder / "report.html")
        page.write_figures(made, folder / "plots")
        _finish_tracking(tracker, result, folder)
    _show_outcome(result, folder, tracker)
    return result


def _finish_tracking(tracker: Tracker | None, result: ExperimentResult, folder: Path) -> None:
    """Deliver the result to MLflow; an error is stored in `tracker.problem`."""
    if tracker is None:
        return
    try:
        with quiet():
            tracker.finish(result, folder)
    except Exception as error:  # printed by `_show_outcome`; the result is in the store and the report
        tracker.problem = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _show_outcome(result: ExperimentResult, folder: Path, tracker: Tracker | None) -> None:
    """Print the result, its warnings, and the paths of its files."""
    from cl.reporting.html.headline import headline
    from cl.reporting.html.table import terminal_table

    console.print()
    console.print(f"[bold]{escape(headline(result))}[/]")
    for note in result.notes:
        console.print(f"[yellow]{escape(note)}[/]")
    console.print(terminal_table(result, console.width))
    for text in dict.fromkeys(text for r in result.runs for stage in r.stages for text in stage.warnings):
        console.print(f"[yellow]warning[/] {escape(text)}")
    distinct = len({stage.key for r in result.runs for stage in r.stages})
    console.print(
        f"train nodes: {result.asked} asked for, {distinct} distinct, {result.executed} executed in this call"
    )
    console.print(f"report   {escape(str(folder / 'report.html'))}\nresults  {escape(str(folder / 'results.json'))}")
    if tracker is None:
        console.print("mlflow   switched off (tracking.uri: none)")
    elif tracker.problem:
        console.print(
            f"[yellow]mlflow   not delivered to {tracker.uri}: {tracker.problem}; run the same command again[/]"
        )
    else:
        local = not tracker.uri.startswith("http")
        console.print(f"mlflow   {'mlflow ui --backend-store-uri ' if local else ''}{tracker.uri}")
