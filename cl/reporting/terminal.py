"""What a person sees in the terminal: the plan before, progress during, and the outcome after."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import groupby

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from cl.config.runtime import Cluster
from cl.execution.cost_estimate import Estimate
from cl.execution.store import Store
from cl.graph.node import Node
from cl.graph.planner import Graph, RunPlan
from cl.metrics.records import Point


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "<1 s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def number(count: float) -> str:
    """A count in three digits with a unit prefix: 1.03 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f}"


def show_plan(console: Console, graph: Graph, store: Store, todo: list[Node], cost: Estimate) -> None:
    """Print every run with its train nodes, what is stored or shared with a run above, and what the rest costs."""
    experiment = graph.experiment
    console.print(f"[bold]{escape(experiment.name)}[/]  {escape(experiment.question)}")
    spec = graph.runs[0].stages[0].node.spec
    console.print(
        f"scenario {graph.scenario.name} v{graph.scenario.version}, model {escape(experiment.model.name)}, "
        f"{spec['device']}, {spec['precision']}, {'compiled' if spec['compile'] else 'eager'}, "
        f"store {escape(store.url)}"
    )
    waiting, listed = {node.key for node in todo}, set[str]()
    for (order, seed), runs in groupby(graph.runs, key=lambda run: (run.order, run.seed)):
        parts = [" > ".join(order)] if len({tuple(run.order) for run in graph.runs}) > 1 else []
        parts += [f"seed {seed}"] if len(experiment.seeds) > 1 else []
        if parts:
            console.print(f"\n[bold]{', '.join(parts)}[/]")
        console.print(_stages(runs, waiting, listed, cost))
    for text in graph.warnings:
        console.print(f"[yellow]warning[/] {escape(text)}")
    console.print(totals(graph, todo, cost))
    if todo and experiment.launcher == "slurm":
        console.print(_jobs(todo, cost, experiment.cluster))


def _jobs(todo: list[Node], cost: Estimate, cluster: Cluster) -> Table:
    """A line per Slurm job."""
    from cl.execution.launchers import slurm

    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("job", "nodes", "waits for", "GPUs", "takes"):
        table.add_column(column, justify="left" if column in ("job", "waits for") else "right")
    for number, job in enumerate(slurm.jobs(todo), 1):
        seconds = sum(cost.seconds[node.key] for node in job.nodes)
        took = duration(seconds) + (f" [red]of {cluster.minutes} min[/]" if seconds > 60 * cluster.minutes else "")
        waits = ", ".join(str(at + 1) for at in sorted(job.after))
        table.add_row(f"{number} {escape(job.name)}", str(len(job.nodes)), waits, str(job.gpus), took)
    return table


def _stages(runs: Iterable[RunPlan], waiting: set[str], listed: set[str], cost: Estimate) -> Table:
    """A line per train node; only what a node reads may wrap. `listed` grows by the keys that are shown."""
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
            state = "shared" if key in listed else duration(cost.seconds[key]) if key in waiting else "[green]stored[/]"
            listed.add(key)
            reads = _reads(plan.node.spec["shares"])
            table.add_row(label, plan.stage.name, key[:8], number(plan.node.cost), reads, state)
            label = ""
    return table


def _reads(shares: Mapping[str, float]) -> str:
    """Sources of a stage with their shares; a single one needs no figure."""
    if len(shares) == 1:
        return next(iter(shares))
    return "\n".join(f"{100 * share:.3g}% {name}" for name, share in shares.items())


def totals(graph: Graph, todo: list[Node], cost: Estimate) -> str:
    """Two lines: nodes asked for, distinct and shared; tokens and time of what is missing."""
    distinct = {stage.node.key for run in graph.runs for stage in run.stages}
    asked = f"{len(graph.runs)} runs ask for {graph.asked} train nodes, of which {len(distinct)} are distinct."
    if not todo:
        return f"{asked}\nEverything is stored."
    train = [node for node in todo if node.kind == "train"]
    basis = "as measured in this store" if cost.measured else "guessed from a short calibration"
    return (
        f"{asked}\nTo execute: {len(train)} train nodes of {number(sum(n.cost for n in train))} tokens, "
        f"{len(todo) - len(train)} others.\nAbout [bold]{duration(cost.total)}[/] at "
        f"{number(float(f'{cost.tokens_per_second:.2g}'))} tokens/s, {basis}."
    )


class ProgressListener:
    """A bar for the whole graph and one for each node in progress, with the newest loss.

    also: who else wants each point. executed: keys of the nodes that were computed.
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
        self.current: dict[str, TaskID] = {}
        self.done: dict[str, float] = {}

    def waiting(self, node: Node) -> None:
        """Say why nothing happens."""
        self._line("[yellow]wait[/]", node, "another process")

    def found(self, node: Node) -> None:
        """Count a node that another process computed."""
        self._count(node)

    def started(self, node: Node) -> None:
        """Show a bar for the node."""
        if node.key not in self.current:  # a worker that died starts it again
            self.current[node.key] = self.bars.add_task(f"{node.kind} {node.name}", total=1, note="")

    def progress(self, node: Node, done: int, total: int) -> None:
        """Move both bars."""
        if node.key in self.current:
            self.bars.update(self.current[node.key], completed=done, total=total)
        self._count(node, done / total)

    def point(self, node: Node, point: Point) -> None:
        """Show the newest figures, and hand the point on."""
        if self.also is not None:
            self.also(node, point)
        if node.key not in self.current:
            return
        parts = [f"loss {point.loss:.3f}"] if point.loss is not None else []
        parts += [f"{name} {value:.3f}" for name, value in point.scores.items()]
        speed = f"{point.tokens / point.seconds:,.0f} tok/s" if point.seconds and point.tokens else ""
        self.bars.update(self.current[node.key], note="  ".join([*parts, speed]))

    def finished(self, node: Node, seconds: float) -> None:
        """Leave one line about the node and drop its bar."""
        self.executed.add(node.key)
        self._count(node)
        if node.key in self.current:
            self.bars.remove_task(self.current.pop(node.key))
        self._line("[green]done[/]", node, f"{duration(seconds):>7}  {node.key[:8]}")

    def _count(self, node: Node, share: float = 1.0) -> None:
        self.done[node.key] = share * self.cost.seconds[node.key]
        self.bars.update(self.whole, completed=sum(self.done.values()))

    def _line(self, word: str, node: Node, note: str) -> None:
        self.bars.console.print(f"  {word} {node.kind:11} {escape(node.name):40} {note}")
