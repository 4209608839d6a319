"""The commands behind the command line: each one plans, executes, or looks."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from cl import catalog
from cl.errors import UserError
from cl.store import Store

if TYPE_CHECKING:
    from cl.graph import Graph
    from cl.node import Node
    from cl.results import ExperimentResult, Point
    from cl.tracking import Tracker

console = Console()


def plan(name: str, settings: list[str]) -> None:
    """Print the graph of an experiment and what executing it would cost."""
    _planned(name, settings)


def run(name: str, settings: list[str]) -> None:
    """Execute what is missing of an experiment, then report: terminal table, HTML, results.json, MLflow."""
    from cl import collect, report
    from cl.console import ProgressListener

    graph, store, todo, cost = _planned(name, settings)
    store.protect(graph.experiment.name, [node.key for node in graph.nodes])
    started = time.monotonic()
    listener = ProgressListener(console, todo, cost)
    with _tracker(graph, store) as tracker:
        with _quiet(), listener.bars if todo else contextlib.nullcontext():
            _execute(todo, store, listener, tracker)
        command = " ".join(["cl run", shlex.quote(name), *map(shlex.quote, settings)])
        result = collect.collect(graph, store, listener.executed, time.monotonic() - started, command)
        folder = collect.results_folder(graph)
        collect.save(result, folder)
        report.write(result, folder / "report.html")
        _finish_tracking(tracker, result, folder)
    _show_outcome(result, folder, tracker)


def _planned(name: str, settings: list[str]) -> tuple[Graph, Store, list[Node], Any]:
    from cl import costs, experiment, graph, runner
    from cl.console import show_plan

    with _quiet():
        planned = graph.build(experiment.load(name, settings))
        store = Store(planned.experiment.store)
        wanted = [node for r in planned.runs for node in (*(s.node for s in r.stages), *r.rows.values())]
        todo = runner.pending([planned.base, *planned.data.values(), *wanted], store)
        cost = costs.estimate(planned, todo, store)
    show_plan(console, planned, store, todo, cost)
    return planned, store, todo, cost


def _execute(todo: list[Node], store: Store, listener: Any, tracker: Tracker | None) -> None:
    from cl import runner

    class Both:
        """The progress bars, and the tracker for points."""

        started, progress, finished = listener.started, listener.progress, listener.finished

        @staticmethod
        def point(node: Node, point: Point) -> None:
            listener.point(node, point)
            if tracker is not None:
                tracker.point(node, point)

    runner.run(todo, store, Both)


@contextlib.contextmanager
def _tracker(graph: Graph, store: Store) -> Iterator[Tracker | None]:
    """The tracker of a graph's runs, or None where tracking is switched off."""
    from cl.tracking import Tracker

    uri = graph.experiment.tracking.uri
    if uri == "none":
        yield None
        return
    artifacts = None
    if uri is None:
        home = store.scratch.resolve()
        home.mkdir(parents=True, exist_ok=True)
        uri, artifacts = f"sqlite:///{home}/mlflow.db", (home / "mlflow-artifacts").as_uri()
    tracker = Tracker(uri, store.scratch / "tracking", graph, artifacts)
    try:
        yield tracker
    finally:
        tracker.close()


def _finish_tracking(tracker: Tracker | None, result: ExperimentResult, folder: Path) -> None:
    if tracker is None:
        return
    try:
        with _quiet():
            tracker.finish(result, folder)
    except Exception as error:  # the result is in the store and the report; say loudly that MLflow lacks it
        tracker.problem = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _show_outcome(result: ExperimentResult, folder: Path, tracker: Tracker | None) -> None:
    from cl import report

    console.print()
    console.print(f"[bold]{report.headline(result)}[/]")
    console.print(report.terminal_table(result))
    distinct = len({stage.key for r in result.runs for stage in r.stages})
    console.print(
        f"train nodes: {result.asked} asked for, {distinct} distinct, {result.executed} executed in this call"
    )
    console.print(f"report   {folder / 'report.html'}\nresults  {folder / 'results.json'}")
    if tracker is None:
        console.print("mlflow   switched off (tracking.uri: none)")
    elif tracker.problem:
        console.print(f"[yellow]mlflow   not delivered to {tracker.uri}: {tracker.problem}; run the same command again[/]")
    else:
        console.print(f"mlflow   mlflow ui --backend-store-uri {tracker.uri}")


def report(path: str) -> None:
    """Write the HTML report of a results.json beside it."""
    from cl import report as room
    from cl.results import ExperimentResult

    file = Path(path)
    if not file.is_file():
        raise UserError(f"results: there is no file {path!r}; `cl run` writes results/NAME/results.json")
    room.write(ExperimentResult.load(file), file.with_name("report.html"))
    console.print(f"report   {file.with_name('report.html')}")


def scenario_show(name: str, model: str | None) -> None:
    """Print a scenario's tasks, sizes and examples; tokens by a model's tokenizer if one is named."""
    from cl import models, scenario
    from cl.scenario_show import show
    from cl.settings import Model

    with _quiet():
        tokenizer = models.load_tokenizer(Model(model)) if model else None
        shown = show(scenario.load(name), (lambda text: len(tokenizer(text)["input_ids"])) if tokenizer else None)
    console.print(shown)


def list_names(kind: str) -> None:
    """Print what there is of a kind, a line each."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for row in _rows(kind):
        table.add_row(*row)
    console.print(table)


def _rows(kind: str) -> Iterator[tuple[str, ...]]:
    if kind == "models":
        from cl import models

        for group, entries in models.table().items():
            for name, entry in entries.items():
                yield name, group, entry["about"]
        yield "DIRECTORY", "local", "any transformers causal LM saved with save_pretrained"
        yield "OWNER/NAME", "hub", "any transformers causal LM on the hub (needs a network)"
        return
    for name in catalog.names(kind):  # type: ignore[arg-type]  # the parser admits only the known kinds
        found = catalog.read(kind, name)  # type: ignore[arg-type]
        text = str(found.get("summary") or found.get("question") or "")
        yield (name, text, str(found.get("paper", "")), str(found.get("keeps", ""))) if kind == "strategies" else (name, text)


def store(action: str, url: str, drop: list[str], dry_run: bool) -> None:
    """List the nodes of a store, check their files, or delete what no experiment stands on."""
    found = Store(url)
    if not found.fs.exists(found.root):
        raise UserError(f"store: there is no store at {url!r}; `cl run` makes one, --store=FOLDER names another")
    if action == "ls":
        _list_store(found)
    elif action == "verify":
        bad = {key: files for key in found.keys() if (files := found.verify(key))}
        for key, files in bad.items():
            console.print(f"[red]damaged[/] {key}: {', '.join(files)}")
        if bad:
            raise UserError(f"store: {len(bad)} damaged nodes; delete their folders under {url}/nodes and run again")
        console.print(f"{len(found.keys())} nodes are whole")
    elif dry_run:
        keys = found.garbage(drop)
        console.print(f"{len(keys)} nodes, {sum(map(found.size, keys)) / 1e6:.1f} MB would be deleted")
    else:
        console.print(f"{found.collect(drop) / 1e6:.1f} MB freed")


def _list_store(found: Store) -> None:
    users: dict[str, list[str]] = {}
    for name, keys in found.roots().items():
        for key in keys:
            users.setdefault(key, []).append(name)
    table = Table("key", "kind", "name", "MB", "seconds", "created", "used by", box=None, header_style="dim", pad_edge=False)
    total = 0
    for record in sorted((found.read(key) for key in found.keys()), key=lambda record: str(record["created"])):
        size = found.size(record["key"])
        total += size
        seconds = f"{record['result']['seconds_in_all']:.1f}"
        used = ", ".join(users.get(record["key"], [])) or "[dim]nobody[/]"
        table.add_row(record["key"], record["identity"]["kind"], record["name"], f"{size / 1e6:.1f}", seconds, record["created"], used)
    console.print(table)
    console.print(f"{len(found.keys())} nodes, {total / 1e6:.1f} MB")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
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
