"""The commands behind the command line: each one plans, executes, or looks."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from cl.execution.store import Store

if TYPE_CHECKING:
    from cl.execution.cost_estimate import Estimate
    from cl.graph.node import Node
    from cl.graph.planner import Graph
    from cl.reporting.mlflow import Tracker


console = Console()


def _planned(name: str, settings: list[str], protect: bool) -> tuple[Graph, Store, list[Node], Estimate]:
    """Plan an experiment and print it. protect: before looking at what is stored, so that no `gc` deletes it."""
    from cl.config import loading
    from cl.execution import cost_estimate, runner
    from cl.graph import planner
    from cl.reporting.terminal import show_plan

    with quiet():
        planned = planner.build(loading.load(name, settings))
        store = Store(planned.experiment.store)
        if protect:
            store.protect(planned.experiment.name, [node.key for node in planned.nodes])
        wanted = [node for r in planned.runs for node in (*(s.node for s in r.stages), *r.rows.values())]
        todo = runner.pending([planned.base, *planned.data.values(), *wanted], store)
        cost = cost_estimate.estimate(planned, todo, store)
    show_plan(console, planned, store, todo, cost)
    return planned, store, todo, cost


@contextlib.contextmanager
def tracker_of(graph: Graph, store: Store) -> Iterator[Tracker | None]:
    """The tracker of a graph's runs, or None where tracking is switched off."""
    from cl.reporting.mlflow import Tracker

    uri = graph.experiment.tracking.uri
    if uri == "none":
        yield None
        return
    artifacts = None
    if uri is None:
        home = store.scratch.resolve()
        home.mkdir(parents=True, exist_ok=True)
        uri, artifacts = f"sqlite:///{home}/mlflow.db", (home / "mlflow-artifacts").as_uri()
    tracker = Tracker(uri, store.scratch / "tracking", graph, store, artifacts)
    try:
        yield tracker
    finally:
        tracker.close()


def deliver(
    graph: Graph,
    store: Store,
    name: str,
    key: str,
    params: dict[str, Any],
    figures: dict[str, float],
    files: list[Path],
) -> None:
    """Deliver what was found beside the runs to MLflow, and say so; or say loudly that it failed."""
    with tracker_of(graph, store) as tracker:
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
    """Silence what libraries print about themselves; our own warnings are printed by us."""
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
