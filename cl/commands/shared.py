"""Functions shared by several commands: console, planning, tracking."""

from __future__ import annotations

import contextlib
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from cl.execution.store import Store

if TYPE_CHECKING:
    from cl.config.experiment import Experiment
    from cl.execution.cost_estimate import Estimate
    from cl.graph.node import Node
    from cl.graph.planner import Graph
    from cl.graph.run_plan import RunPlan
    from cl.graph.selection import Selection
    from cl.reporting.mlflow import Tracker
    from cl.reporting.mlflow_values import Beside

console = Console()


@dataclass(frozen=True)
class Planned:
    """A planned experiment with its missing nodes.

    Args:
        graph: all nodes.
        store: the experiment's store.
        todo: nodes that are not stored, parents first.
        cost: estimated seconds of these nodes.
    """

    graph: Graph
    store: Store
    todo: list[Node]
    cost: Estimate


def build_graph(name: str, settings: list[str], selection: Selection | None = None) -> Graph:
    """Load and plan an experiment.

    Args:
        name: name or path of the experiment.
        settings: settings of the command line.
        selection: the part of the graph that is asked for. None: all.
    """
    from cl.config import loading
    from cl.graph import planner
    from cl.graph.selection import selected

    with quiet():
        graph = planner.build(loading.load(name, settings))
    return graph if selection is None else selected(graph, selection)


def compare_with_store(graph: Graph, protect: bool, all_lines: bool = False) -> Planned:
    """Find the missing nodes of a graph and print the plan.

    Args:
        graph: the planned experiment.
        protect: protect the graph's nodes from `cl store gc` before the store is read.
        all_lines: print a line for each train node.
    """
    from cl.execution import cost_estimate, result_files, runner
    from cl.execution.launchers import launcher
    from cl.reporting.terminal import show_plan

    with quiet():
        store = Store(graph.experiment.store)
        if protect:
            store.open_for_writing()
            result_files.check_writable(result_files.results_folder(graph))
            store.needed.add(graph.experiment.name, [node.key for node in graph.nodes])
        todo = runner.pending(graph.wanted, store)
        cost = cost_estimate.estimate(graph, todo, store, measure=protect)
        jobs = launcher.of(graph.experiment).jobs(todo) if todo else []
    planned = Planned(graph, store, todo, cost)
    show_plan(console, graph, store, todo, cost, jobs, all_lines)
    return planned


@contextlib.contextmanager
def tracker_of(experiment: Experiment, store: Store, runs: Sequence[RunPlan] = ()) -> Iterator[Tracker | None]:
    """Context with the tracker of an experiment's runs. None: tracking is switched off."""
    from cl.reporting.mlflow import Tracker
    from cl.reporting.mlflow_database import default_place

    uri, artifacts = experiment.tracking.uri, None
    if uri == "none":
        yield None
        return
    if uri is None:
        uri, artifacts = default_place(store.scratch)
    tracker = Tracker(uri, experiment.name, runs, store, artifacts)
    try:
        yield tracker
    finally:
        tracker.close(patience=0)  # closed already, unless the command was interrupted


def deliver(experiment: Experiment, store: Store, results: Sequence[Beside]) -> None:
    """Deliver results that belong to no single run to MLflow, and print their place or the error.

    Args:
        experiment: the experiment.
        store: the store.
        results: the results.
    """
    with tracker_of(experiment, store) as tracker:
        if tracker is None:
            return
        with quiet():
            tracker.beside(results)
        show_tracking(tracker, ", ".join(each.name for each in results))


def show_tracking(tracker: Tracker | None, what: str = "") -> None:
    """Print where the runs are, or why they were not delivered.

    Args:
        tracker: the tracker. None: tracking is switched off.
        what: names of the results; empty for the runs of an experiment.
    """
    if tracker is None:
        console.print("mlflow   switched off (tracking.uri: none)")
    elif tracker.problem:
        problem = f"not delivered to {tracker.shown}: {tracker.problem}; run the same command again"
        console.print(f"[yellow]mlflow   {escape(problem)}[/]")
    else:
        call = f"mlflow ui --backend-store-uri {shlex.quote(tracker.shown)}"
        place = tracker.shown if what or tracker.shown.startswith("http") else call
        console.print(f"mlflow   {escape(f'{what}: ' * bool(what) + place)}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Context without log messages, progress bars and warnings of libraries. `cl` prints its own warnings."""
    import logging
    import os

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for name in ("pytorch_lightning", "lightning", "transformers", "mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if "transformers" in sys.modules:
        sys.modules["transformers"].utils.logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
