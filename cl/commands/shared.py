"""Functions shared by several commands: console, planning, tracking."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from cl.execution.store import Store

if TYPE_CHECKING:
    from cl.config.experiment import Experiment
    from cl.execution.cost_estimate import Estimate
    from cl.graph.node import Node
    from cl.graph.planner import Graph
    from cl.graph.run_plan import RunPlan
    from cl.reporting.mlflow import Tracker

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


def build_graph(name: str, settings: list[str]) -> Graph:
    """Load and plan an experiment.

    Args:
        name: name or path of the experiment.
        settings: settings of the command line.
    """
    from cl.config import loading
    from cl.graph import planner

    with quiet():
        return planner.build(loading.load(name, settings))


def compare_with_store(graph: Graph, protect: bool, all_lines: bool = False) -> Planned:
    """Find the missing nodes of a graph and print the plan.

    Args:
        graph: the planned experiment.
        protect: protect the graph's nodes from `cl store gc` before the store is read.
        all_lines: print a line for each train node.
    """
    from cl.execution import cost_estimate, runner
    from cl.execution.launchers import launcher
    from cl.reporting.terminal import show_plan

    with quiet():
        store = Store(graph.experiment.store)
        if protect:
            store.protect(graph.experiment.name, [node.key for node in graph.nodes])
        todo = runner.pending(graph.wanted, store)
        cost = cost_estimate.estimate(graph, todo, store)
        jobs = launcher.of(graph.experiment).jobs(todo) if todo else []
    planned = Planned(graph, store, todo, cost)
    show_plan(console, graph, store, todo, cost, jobs, all_lines)
    return planned


@contextlib.contextmanager
def tracker_of(experiment: Experiment, store: Store, runs: Sequence[RunPlan] = ()) -> Iterator[Tracker | None]:
    """Context with the tracker of an experiment's runs. None: tracking is switched off."""
    from cl.reporting.mlflow import Tracker

    uri = experiment.tracking.uri
    if uri == "none":
        yield None
        return
    artifacts = None
    if uri is None:
        home = store.scratch.resolve()
        home.mkdir(parents=True, exist_ok=True)
        uri, artifacts = f"sqlite:///{home}/mlflow.db", (home / "mlflow-artifacts").as_uri()
    tracker = Tracker(uri, store.scratch / "tracking", experiment.name, runs, store, artifacts)
    try:
        yield tracker
    finally:
        tracker.close()


def deliver(
    experiment: Experiment,
    store: Store,
    name: str,
    key: str,
    params: dict[str, Any],
    figures: dict[str, float],
    files: list[Path],
) -> None:
    """Deliver a result that belongs to no single run to MLflow, and print its place or the error.

    Args:
        experiment: the experiment.
        store: the store.
        name: name of the MLflow run.
        key: key of the result; a result is delivered once.
        params: parameters.
        figures: metrics.
        files: files to upload.
    """
    with tracker_of(experiment, store) as tracker:
        if tracker is None:
            return
        try:
            with quiet():
                tracker.beside(name, key, params, figures, files)
        except Exception as error:
            problem = f"not delivered to {tracker.uri}: {escape(str(error)[:200])}; run the same command again"
            console.print(f"[yellow]mlflow   {problem}[/]")
        else:
            console.print(f"mlflow   {escape(name)}: {tracker.uri}")


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
