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
from rich.markup import escape
from rich.table import Table

from cl import catalog
from cl.errors import UserError
from cl.store import Store

if TYPE_CHECKING:
    from cl.costs import Estimate
    from cl.graph import Graph
    from cl.node import Node
    from cl.results import ExperimentResult
    from cl.tracking import Tracker

console = Console()


def plan(name: str, settings: list[str]) -> None:
    """Print the graph of an experiment and what executing it would cost."""
    _planned(name, settings, protect=False)


Ran = tuple["Graph", Store, "ExperimentResult"]


def run(name: str, settings: list[str], command: str = "run") -> Ran | None:
    """Execute what is missing of an experiment, then report: terminal table, HTML, results.json, MLflow.

    None where it was submitted as jobs, the last of which reports.
    """
    from cl import collect, launchers, report
    from cl.console import ProgressListener

    graph, store, todo, cost = _planned(name, settings, protect=True)
    if todo and graph.experiment.launcher == "slurm":
        _submitted(graph, store, todo, [command, name, *settings])
        return None
    started = time.monotonic()
    with tracker_of(graph, store) as tracker:
        listener = ProgressListener(console, todo, cost, tracker.point if tracker else None)
        with quiet(), listener.bars if todo else contextlib.nullcontext():
            launchers.execute(todo, store, listener, graph.experiment)
        if tracker is not None:
            tracker.close()  # plotly looks into modules that its thread may have half imported
        typed = " ".join([f"cl {command}", shlex.quote(name), *map(shlex.quote, settings)])
        result = collect.collect(graph, store, listener.executed, time.monotonic() - started, typed)
        folder = collect.results_folder(graph)
        collect.save(result, folder)
        report.write(result, folder / "report.html")
        report.write_figures(result, folder / "plots")
        _finish_tracking(tracker, result, folder)
    _show_outcome(result, folder, tracker)
    return graph, store, result


def _submitted(graph: Graph, store: Store, todo: list[Node], typed: list[str]) -> None:
    """Submit what is missing as Slurm jobs, and a last one that runs the command again to report."""
    from cl.launchers import slurm

    resolved = [f"--train.{name}={value}" for name, value in graph.resolved.items()]  # not anew, on another machine
    report = [sys.executable, "-P", "-m", "cl.cli", *typed, *resolved, "--launcher=local"]
    with quiet():
        ids, folder = slurm.submit(todo, store, graph.experiment.cluster, graph.experiment.name, report)
    console.print(
        f"submitted {len(ids)} jobs, {ids[0]} to {ids[-1]}; the last one reports. Where a job fails, its log says why, "
        f"and the same command submits what is left.\nlogs     {escape(str(folder))}"
    )


def _planned(name: str, settings: list[str], protect: bool) -> tuple[Graph, Store, list[Node], Estimate]:
    """Plan an experiment and print it. protect: before looking at what is stored, so that no `gc` deletes it."""
    from cl import costs, experiment, graph, runner
    from cl.console import show_plan

    with quiet():
        planned = graph.build(experiment.load(name, settings))
        store = Store(planned.experiment.store)
        if protect:
            store.protect(planned.experiment.name, [node.key for node in planned.nodes])
        wanted = [node for r in planned.runs for node in (*(s.node for s in r.stages), *r.rows.values())]
        todo = runner.pending([planned.base, *planned.data.values(), *wanted], store)
        cost = costs.estimate(planned, todo, store)
    show_plan(console, planned, store, todo, cost)
    return planned, store, todo, cost


@contextlib.contextmanager
def tracker_of(graph: Graph, store: Store) -> Iterator[Tracker | None]:
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


def _finish_tracking(tracker: Tracker | None, result: ExperimentResult, folder: Path) -> None:
    if tracker is None:
        return
    try:
        with quiet():
            tracker.finish(result, folder)
    except Exception as error:  # the result is in the store and the report; say loudly that MLflow lacks it
        tracker.problem = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _show_outcome(result: ExperimentResult, folder: Path, tracker: Tracker | None) -> None:
    from cl import report

    console.print()
    console.print(f"[bold]{escape(report.headline(result))}[/]")
    for note in result.notes:
        console.print(f"[yellow]{escape(note)}[/]")
    console.print(report.terminal_table(result, console.width))
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


def report(path: str) -> None:
    """Write the HTML report of a results.json beside it."""
    from cl import report as room
    from cl.results import ExperimentResult

    file = Path(path)
    if not file.is_file():
        raise UserError(f"results: there is no file {path!r}; `cl run` writes results/NAME/results.json")
    try:
        result = ExperimentResult.load(file)
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"results: {path} is no results.json of this version: {error}; write it by `cl run`") from error
    room.write(result, file.with_name("report.html"))
    console.print(f"report   {escape(str(file.with_name('report.html')))}")


def scenario_show(name: str, model: str | None) -> None:
    """Print a scenario's tasks, sizes and examples; tokens are those of `model`, or of a packaged one."""
    from cl import models, scenario
    from cl.scenario_show import show
    from cl.settings import Model

    found = scenario.load(name)
    chosen = model or next(iter(models.installed()), None)
    with quiet():
        tokenizer = models.load_tokenizer(Model(chosen)) if chosen else None
        shown = show(found, (lambda text: len(tokenizer.tokenize(text))) if tokenizer else None)
    console.print(shown)
    console.print(f"tokens: as {chosen} counts them" if chosen else "tokens: not counted; name a model: --model=NAME")


def list_names(kind: str) -> None:
    """Print what there is of a kind: name, what it is, and below it where it comes from."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    for name, text, note in _models() if kind == "models" else _definitions(kind):
        table.add_row(escape(name), escape(text) + (f"\n[dim]{escape(note)}[/]" if note else ""))
    console.print(table)


def _models() -> Iterator[tuple[str, str, str]]:
    from cl import models

    for group, entries in models.table().items():
        for name, entry in entries.items():
            yield name, f"{entry['about']} ({group})", ""
    yield "DIRECTORY", "any transformers causal LM saved with save_pretrained", ""
    yield "OWNER/NAME", "any transformers causal LM on the hub (needs a network)", ""


def _definitions(kind: str) -> Iterator[tuple[str, str, str]]:
    for name in catalog.names(kind):  # type: ignore[arg-type]  # the parser admits only the known kinds
        found = catalog.read(kind, name)  # type: ignore[arg-type]
        notes = [f"keeps {found['keeps']}" if "keeps" in found else "", str(found.get("paper", ""))]
        yield name, str(found.get("summary") or found.get("question") or ""), "; ".join(filter(None, notes))


def store(action: str, url: str, drop: list[str], dry_run: bool) -> None:
    """List the nodes of a store, check their files, or delete what no experiment stands on."""
    found = Store(url)
    if not found.fs.exists(found.root):
        raise UserError(f"store: there is no store at {url!r}; `cl run` makes one, --store=FOLDER names another")
    if action != "gc" and (drop or dry_run):
        raise UserError(f"store {action}: --drop and --dry-run are for `cl store gc` only; leave them out")
    if action == "ls":
        _list_store(found)
    elif action == "verify":
        _verify_store(found)
    else:
        keys = found.garbage(drop)
        size = sum(map(found.size, keys)) if dry_run else found.collect(drop)
        done = "would be deleted" if dry_run else "deleted, unfinished work that nobody needs included"
        console.print(f"{len(keys)} nodes, {size / 1e6:.1f} MB {done}")


def _verify_store(found: Store) -> None:
    keys = found.keys()
    bad = {key: files for key in keys if (files := found.verify(key))}
    for key, files in bad.items():
        console.print(f"[red]damaged[/] {key}: {', '.join(files)}")
    if bad:
        raise UserError(f"store: {len(bad)} damaged nodes; delete their folders in {found.url}/nodes and run again")
    console.print(f"{len(keys)} nodes are whole")


def _list_store(found: Store) -> None:
    users: dict[str, list[str]] = {}
    for name, keys in found.roots().items():
        for key in keys:
            users.setdefault(key, []).append(name)
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("key", "kind", "name", "MB", "seconds", "created (UTC)", "used by"):
        words, figures = column in ("name", "used by"), column in ("MB", "seconds")
        table.add_column(column, no_wrap=not words, overflow="fold", justify="right" if figures else "left")
    records = sorted(found.records(), key=lambda record: str(record["created"]))
    sizes = [found.size(record["key"]) for record in records]
    for record, size in zip(records, sizes, strict=True):
        key, created = record["key"], str(record["created"])[:16].replace("T", " ")
        used = escape(", ".join(users.get(key, []))) or "[dim]nobody[/]"
        seconds = f"{record['result']['seconds_in_all']:.1f}"
        kind, name = record["identity"]["kind"], escape(record["name"])
        table.add_row(key[:8], kind, name, f"{size / 1e6:.1f}", seconds, created, used)
    console.print(table)
    console.print(f"{len(records)} nodes, {sum(sizes) / 1e6:.1f} MB")


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
