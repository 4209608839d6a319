"""`cl run`: execute what is missing of an experiment, then report."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from cl.execution.store import Store

if TYPE_CHECKING:
    from cl.graph.node import Node
    from cl.graph.planner import Graph
    from cl.metrics.records import ExperimentResult
    from cl.reporting.mlflow import Tracker
from cl.commands.shared import _planned, console, quiet, tracker_of

Ran = tuple["Graph", Store, "ExperimentResult"]


def run(name: str, settings: list[str], command: str = "run") -> Ran | None:
    """Execute what is missing of an experiment, then report: terminal table, HTML, results.json, MLflow.

    None where it was submitted as jobs, the last of which reports.
    """
    from cl.execution import collect
    from cl.execution.launchers import launcher
    from cl.reporting.html import page
    from cl.reporting.terminal import ProgressListener

    graph, store, todo, cost = _planned(name, settings, protect=True)
    if todo and graph.experiment.launcher == "slurm":
        _submitted(graph, store, todo, [command, name, *settings])
        return None
    started = time.monotonic()
    with tracker_of(graph, store) as tracker:
        listener = ProgressListener(console, todo, cost, tracker.point if tracker else None)
        with quiet(), listener.bars if todo else contextlib.nullcontext():
            launcher.execute(todo, store, listener, graph.experiment)
        if tracker is not None:
            tracker.close()  # plotly looks into modules that its thread may have half imported
        typed = " ".join([f"cl {command}", shlex.quote(name), *map(shlex.quote, settings)])
        result = collect.collect(graph, store, listener.executed, time.monotonic() - started, typed)
        folder = collect.results_folder(graph)
        collect.save(result, folder)
        page.write(result, folder / "report.html")
        page.write_figures(result, folder / "plots")
        _finish_tracking(tracker, result, folder)
    _show_outcome(result, folder, tracker)
    return graph, store, result


def _submitted(graph: Graph, store: Store, todo: list[Node], typed: list[str]) -> None:
    """Submit what is missing as Slurm jobs, and a last one that runs the command again to report."""
    from cl.execution.launchers import slurm

    resolved = [f"--train.{name}={value}" for name, value in graph.resolved.items()]  # not anew, on another machine
    report = [sys.executable, "-P", "-m", "cl.cli", *typed, *resolved, "--launcher=local"]
    with quiet():
        ids, folder = slurm.submit(todo, store, graph.experiment.cluster, graph.experiment.name, report)
    console.print(
        f"submitted {len(ids)} jobs, {ids[0]} to {ids[-1]}; the last one reports. Where a job fails, its log says why, "
        f"and the same command submits what is left.\nlogs     {escape(str(folder))}"
    )


def _finish_tracking(tracker: Tracker | None, result: ExperimentResult, folder: Path) -> None:
    if tracker is None:
        return
    try:
        with quiet():
            tracker.finish(result, folder)
    except Exception as error:  # the result is in the store and the report; say loudly that MLflow lacks it
        tracker.problem = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _show_outcome(result: ExperimentResult, folder: Path, tracker: Tracker | None) -> None:
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
