"""`cl run`: execute the missing nodes of an experiment, then report."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from cl.commands.shared import build_graph, compare_with_store, console, quiet, show_tracking, tracker_of
from cl.errors import IncompleteError
from cl.redaction import redacted, without_secrets

if TYPE_CHECKING:
    from cl.commands.shared import Planned
    from cl.graph.selection import Selection
    from cl.metrics.records import ExperimentResult
    from cl.reporting.mlflow import Tracker
    from cl.reporting.terminal import ProgressListener


def run(name: str, settings: list[str], selection: Selection | None = None) -> ExperimentResult | None:
    """Execute the missing nodes of an experiment, then report: terminal table, HTML, results.json, MLflow.

    Args:
        name: name or path of the experiment.
        settings: settings of the command line.
        selection: the part of the graph that is asked for. None: all.

    Returns:
        The result. None: the nodes were submitted as jobs, and the last job reports; or no run is complete in the part.
    """
    given = [] if selection is None else selection.arguments
    graph = build_graph(name, settings, selection)
    return execute(compare_with_store(graph, protect=True), ["run", name, *settings, *given])


def execute(planned: Planned, command: list[str]) -> ExperimentResult | None:
    """Execute the missing nodes of a planned experiment, then report.

    Args:
        planned: the experiment.
        command: arguments of `cl`.

    Returns:
        The result. None: the nodes were submitted as jobs; the last job reports.

    Raises:
        IncompleteError: if nodes failed, after the report of the runs that are complete.
    """
    from cl.execution import result_files
    from cl.reporting.terminal import ProgressListener

    graph, started = planned.graph, time.monotonic()
    whole = graph.part is None  # runs are delivered once they are whole
    with tracker_of(graph.experiment, planned.store, graph.runs) if whole else contextlib.nullcontext() as tracker:
        listener = ProgressListener(console, planned.todo, planned.cost, tracker.point if tracker else None)
        submitted, incomplete = _launched(planned, listener, command)
        if submitted is not None:
            console.print(escape(submitted))
            return None
        if not whole:
            _told_of_part(planned, incomplete)
            return None
        if tracker is not None:
            tracker.close()  # plotly inspects modules that the tracker's thread may have imported in part
        typed = " ".join(["cl", command[0], *(shlex.quote(redacted(each)) for each in command[1:])])
        planned, gaps = _complete(planned, incomplete)
        result = _collected(planned, listener, time.monotonic() - started, typed)
        result = dataclasses.replace(result, config=without_secrets(result.config), notes=[*gaps, *result.notes])
        folder = result_files.results_folder(graph)
        _write(result, folder)
        if tracker is not None:
            with quiet():
                tracker.finish(result, folder)
    _show_outcome(result, folder, tracker)
    if incomplete is not None:
        raise incomplete
    return result


def _told_of_part(planned: Planned, incomplete: IncompleteError | None) -> None:
    """Say what became of a part of the graph; nothing is reported. Raises the error of nodes that failed."""
    if incomplete is not None:
        raise incomplete
    stored = len(planned.graph.nodes)
    console.print(f"{stored} nodes of this part are stored.\nFor a report leave --until and --only-kind out.")


def _launched(
    planned: Planned, listener: ProgressListener, command: list[str]
) -> tuple[str | None, IncompleteError | None]:
    """Compute the missing nodes: a message about submitted jobs, and the error of nodes that failed."""
    from cl.execution.launchers import launcher

    graph, todo = planned.graph, planned.todo
    where = launcher.of(graph.experiment)
    again = [*command, *graph.resolved_settings]  # another machine must not resolve `auto` differently
    try:
        with quiet(), listener.bars if todo and where.waits else contextlib.nullcontext():
            return (where.launch(todo, planned.store, listener, again) if todo else None), None
    except IncompleteError as error:
        return None, error


def _complete(planned: Planned, incomplete: IncompleteError | None) -> tuple[Planned, list[str]]:
    """The experiment with the runs that are complete, and a sentence about each other run.

    Raises:
        IncompleteError: if no run is complete; or the error of the first node that broke.
    """
    if incomplete is None:
        return planned, []
    from cl.graph.node import ancestors

    graph, gaps, whole = planned.graph, [], []
    for run in graph.runs:
        keys = [node.key for node in ancestors(run.wanted)]
        told = [" ".join(incomplete.failures[key]) for key in keys if key in incomplete.failures]
        if told:
            name = f"{run.strategy.label} (seed {run.seed}, {' > '.join(run.order)})"
            gaps.append(f"{name} is missing in all tables and figures: {told[0]}")
        else:
            whole.append(run)
    if not whole:
        raise incomplete.__cause__ or incomplete
    return dataclasses.replace(planned, graph=dataclasses.replace(graph, runs=whole)), gaps


def _write(result: ExperimentResult, folder: Path) -> None:
    """Write tables, report and figures."""
    from cl.execution import result_files
    from cl.reporting.html import page
    from cl.reporting.html.figures import figures

    result_files.save(result, folder)
    made = figures(result)
    page.write(result, made, folder / "report.html")
    page.write_figures(made, folder / "plots")


def _collected(planned: Planned, listener: ProgressListener, seconds: float, typed: str) -> ExperimentResult:
    """Collect the result; a node that turns out to be damaged is set aside and computed again."""
    from cl.execution import collect, runner
    from cl.execution.launchers import launcher
    from cl.execution.records import DamageError

    graph, store = planned.graph, planned.store
    while True:
        try:
            return collect.collect(graph, store, listener.executed, seconds, typed)
        except DamageError as error:
            node = next(node for node in graph.nodes if store.place(node.key) == error.key)
            runner.set_aside(error, node, store, listener)
            with quiet():
                launcher.execute(runner.pending(graph.wanted, store), store, listener, graph.experiment)


def _show_outcome(result: ExperimentResult, folder: Path, tracker: Tracker | None) -> None:
    """Print the result, its warnings, and the paths of its files."""
    from cl.reporting.html import gates
    from cl.reporting.html.headline import headline
    from cl.reporting.html.table import terminal_table

    console.print()
    console.print(f"[bold]{escape(headline(result))}[/]")
    for note in result.notes:
        console.print(f"[yellow]{escape(note)}[/]")
    console.print(terminal_table(result, console.width))
    if (decided := gates.terminal_table(result)) is not None:
        console.print(decided)
    for text in dict.fromkeys(text for run in result.runs for text in run.warnings):
        console.print(f"[yellow]warning[/] {escape(text)}")
    distinct = len({stage.key for r in result.runs for stage in r.stages})
    console.print(
        f"train nodes: {result.asked} asked for, {distinct} distinct, {result.executed} executed in this call"
    )
    console.print(f"report   {escape(str(folder / 'report.html'))}\nresults  {escape(str(folder / 'results.json'))}")
    show_tracking(tracker)
