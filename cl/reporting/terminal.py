"""Terminal output: the plan before a run, and progress during it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from cl.config.runtime import Cluster
from cl.execution.cost_estimate import Estimate
from cl.execution.launchers.jobs import Job
from cl.execution.store import Store
from cl.graph.node import Node
from cl.graph.planner import Graph, RunPlan
from cl.graph.specs import TrainSpec
from cl.metrics.records import Point
from cl.redaction import redacted
from cl.reporting.formatting import abbreviated, duration

SCREEN = 40  # train nodes that are listed one by one
SURE = 0.05  # share of the estimated time after which the speed so far corrects the estimate


def show_plan(
    console: Console,
    graph: Graph,
    store: Store,
    todo: list[Node],
    cost: Estimate,
    jobs: Sequence[Job] = (),
    all_lines: bool = False,
) -> None:
    """Print every run with its train nodes, their state (stored, shared with an earlier run) and the cost of the rest.

    Where that is more than fits a screen, print one line per strategy instead.

    Args:
        console: where to print.
        graph: the planned experiment.
        store: the store.
        todo: nodes that are not stored.
        cost: estimated seconds of these nodes.
        jobs: jobs that would be submitted.
        all_lines: print a line per train node, however many there are.
    """
    experiment = graph.experiment
    console.print(f"[bold]{escape(experiment.name)}[/]  {escape(experiment.question)}")
    compute = graph.compute
    console.print(
        f"scenario {escape(graph.scenario.name)} v{graph.scenario.version}, model {escape(experiment.model.name)}, "
        f"{compute.device}, {compute.precision}, {'compiled' if compute.compile else 'eager'}, "
        f"{f'{compute.attention} attention, ' if compute.attention else ''}"
        f"store {escape(redacted(store.url))}"
    )
    waiting = {node.key for node in todo}
    if graph.asked > SCREEN and not all_lines:
        console.print(_by_strategy(graph, waiting, cost))
        again = escape(f"cl plan {experiment.name} --all")
        console.print(f"[dim]grouped: {graph.asked} train nodes are more than a screen; all of them: {again}[/]")
    else:
        _print_runs(console, graph, waiting, cost)
    for text in (*graph.warnings, *cost.warnings):
        console.print(f"[yellow]warning[/] {escape(text)}")
    console.print(totals(graph, todo, cost))
    if jobs:
        console.print(_jobs(jobs, cost, experiment.cluster))


def _by_strategy(graph: Graph, waiting: set[str], cost: Estimate) -> Table:
    """A table with one line per strategy. A shared train node counts where it comes first."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("strategy", no_wrap=True)
    for name in ("runs", "train nodes", "shared", "stored", "to train", "tokens to train", "takes"):
        table.add_column(name, justify="right", no_wrap=True)
    listed: set[str] = set()
    for label in graph.experiment.strategies:
        runs = [run for run in graph.runs if run.strategy.label == label]
        asked = [plan.node for run in runs for plan in run.stages]
        new = {node.key: node for node in asked if node.key not in listed}
        listed |= new.keys()
        missing = [node for key, node in new.items() if key in waiting]
        figures = (len(runs), len(asked), len(asked) - len(new), len(new) - len(missing), len(missing))
        tokens, seconds = sum(node.cost for node in missing), sum(cost.seconds[node.key] for node in missing)
        table.add_row(escape(label), *map(str, figures), abbreviated(tokens), duration(seconds))
    return table


def _print_runs(console: Console, graph: Graph, waiting: set[str], cost: Estimate) -> None:
    """Print a table with a line per train node for each order and seed."""
    experiment, listed = graph.experiment, set[str]()
    for (order, seed), runs in groupby(graph.runs, key=lambda run: (run.order, run.seed)):
        parts = [" > ".join(order)] if len({tuple(run.order) for run in graph.runs}) > 1 else []
        parts += [f"seed {seed}"] if len(experiment.seeds) > 1 else []
        if parts:
            console.print(f"\n[bold]{', '.join(parts)}[/]")
        console.print(_stages(runs, waiting, listed, {node.key for node in graph.nodes}, cost))


def _jobs(jobs: Sequence[Job], cost: Estimate, cluster: Cluster) -> Table:
    """A table with one line per job."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("job", "nodes", "waits for", "GPUs", "takes"):
        table.add_column(column, justify="left" if column in ("job", "waits for") else "right")
    for number, job in enumerate(jobs, 1):
        seconds = sum(cost.seconds[node.key] for node in job.nodes)
        took = duration(seconds) + (f" [red]of {cluster.minutes} min[/]" if seconds > 60 * cluster.minutes else "")
        waits = ", ".join(str(at + 1) for at in sorted(job.after))
        table.add_row(f"{number} {escape(job.name)}", str(len(job.nodes)), waits, str(job.gpus), took)
    return table


def _stages(runs: Iterable[RunPlan], waiting: set[str], listed: set[str], asked: set[str], cost: Estimate) -> Table:
    """A table with one line per train node; only the column of sources wraps. Adds the printed keys to `listed`."""

    def state_of(key: str) -> str:
        if key not in asked:
            return "[dim]left out[/]"
        return "shared" if key in listed else duration(cost.seconds[key]) if key in waiting else "[green]stored[/]"

    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("run", "train node", "key"):
        table.add_column(name, no_wrap=True)
    table.add_column("tokens", justify="right", no_wrap=True)
    table.add_column("reads", overflow="fold")
    table.add_column("to train", no_wrap=True)
    for run in runs:
        label = escape(run.strategy.label)
        for plan in run.stages:
            key = plan.node.key
            state = state_of(key)
            listed.add(key)
            reads = _reads(plan.node)
            table.add_row(label, plan.stage.name, key[:8], abbreviated(plan.node.cost), reads, state)
            label = ""
        if not run.stages:
            last = run.rows[max(run.rows)]
            state = "[green]stored[/]" if last.key not in waiting else "nothing"
            table.add_row(label, "none: rows of R alone", last.key[:8], "0", "", state)
    return table


def _reads(node: Node) -> str:
    """Sources of a stage with their shares; a single source has no share."""
    assert isinstance(node.spec, TrainSpec)
    shares = node.spec.shares
    if len(shares) == 1:
        return next(iter(shares))
    return "\n".join(f"{100 * share:.3g}% {name}" for name, share in shares.items())


def totals(graph: Graph, todo: list[Node], cost: Estimate) -> str:
    """Sentences on the number of nodes, distinct and shared, and the tokens and time of the missing ones."""
    distinct = {stage.node.key for run in graph.runs for stage in run.stages}
    asked = f"{len(graph.runs)} runs ask for {graph.asked} train nodes, of which {len(distinct)} are distinct."
    if not todo:
        return f"{asked}\nEverything is stored."
    train = [node for node in todo if node.kind == "train"]
    basis = "as measured in this store" if cost.measured else "guessed from a short calibration"
    return (
        f"{asked}\nTo execute: {len(train)} train nodes of {abbreviated(sum(n.cost for n in train))} tokens, "
        f"{len(todo) - len(train)} other nodes.\nAbout [bold]{duration(cost.total)}[/] at "
        f"{abbreviated(float(f'{cost.tokens_per_second:.2g}'))} tokens/s, {basis}."
    )


def left(done: float, total: float, spent: float) -> str:
    """The time that is left, in words: as estimated at first, corrected by the speed so far as soon as there is one.

    Args:
        done: estimated seconds of what is done.
        total: estimated seconds of all.
        spent: seconds that have passed.
    """
    if done >= total:
        return ""
    factor = spent / done if done > 0 and spent >= SURE * total else 1.0
    return f"about {duration((total - done) * factor)} left"


class ProgressListener:
    """A progress bar for the whole graph and one per node in progress, with the newest loss.

    The attribute `executed` lists the keys of the computed nodes.

    Args:
        console: where to draw.
        todo: nodes to execute.
        cost: estimated seconds of each node, which weigh its progress.
        also: further receiver of each point.
    """

    def __init__(
        self, console: Console, todo: list[Node], cost: Estimate, also: Callable[[Node, Point], None] | None = None
    ) -> None:
        self.also = also
        self.cost, self.executed = cost, set[str]()
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self.whole = self.bars.add_task("all", total=max(1.0, sum(cost.seconds.values())), note="")
        self.began: float | None = None
        self.current: dict[str, TaskID] = {}
        self.done: dict[str, float] = {}

    def waiting(self, node: Node) -> None:
        """Print that another process computes the node."""
        self._line("[yellow]wait[/]", node, "another process")

    def found(self, node: Node) -> None:
        """Count a node that another process computed."""
        self._count(node)

    def started(self, node: Node) -> None:
        """Add a bar for the node."""
        self.began = time.monotonic() if self.began is None else self.began
        if node.key not in self.current:  # a node starts again after its worker died
            self.current[node.key] = self.bars.add_task(escape(f"{node.kind} {node.name}"), total=1, note="")

    def progress(self, node: Node, done: int, total: int) -> None:
        """Move both bars."""
        if node.key in self.current:
            self.bars.update(self.current[node.key], completed=done, total=total)
        self._count(node, done / total)

    def point(self, node: Node, point: Point) -> None:
        """Show the newest values and pass the point on."""
        if self.also is not None:
            self.also(node, point)
        if node.key not in self.current:
            return
        parts = [f"loss {point.loss:.3f}"] if point.loss is not None else []
        parts += [f"{name} {value:.3f}" for name, value in point.scores.items()]
        speed = f"{point.tokens / point.seconds:,.0f} tok/s" if point.seconds and point.tokens else ""
        self.bars.update(self.current[node.key], note="  ".join([*parts, speed]))

    def note(self, node: Node, text: str) -> None:
        """Print the sentence."""
        self._line("[yellow]note[/]", node, escape(text))

    def finished(self, node: Node, seconds: float) -> None:
        """Print one line about the node and remove its bar."""
        self.executed.add(node.key)
        self._count(node)
        if node.key in self.current:
            self.bars.remove_task(self.current.pop(node.key))
        self._line("[green]done[/]", node, f"{duration(seconds):>7}  {node.key[:8]}")

    def _count(self, node: Node, share: float = 1.0) -> None:
        """Count a share of the node's estimated seconds as done."""
        self.done[node.key] = share * self.cost.seconds.get(node.key, 0.0)  # 0: made again, which nobody planned
        done, total = sum(self.done.values()), sum(self.cost.seconds.values())
        spent = 0.0 if self.began is None else time.monotonic() - self.began
        self.bars.update(self.whole, completed=done, note=left(done, total, spent))

    def _line(self, word: str, node: Node, note: str) -> None:
        """Print one line about a node."""
        self.bars.console.print(f"  {word} {node.kind:11} {escape(node.name):40} {note}")
