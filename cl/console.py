"""What a person sees in the terminal: the plan before, progress during, and the outcome after."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from cl.costs import Estimate
from cl.graph import Graph
from cl.node import Node
from cl.results import Point
from cl.store import Store


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def number(count: float) -> str:
    """A count with a unit prefix: 1.03 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f}"


def show_plan(console: Console, graph: Graph, store: Store, todo: list[Node], cost: Estimate) -> None:
    """Print the graph: every run with its nodes, what is stored, and what the rest will cost."""
    experiment = graph.experiment
    console.print(f"[bold]{escape(experiment.name)}[/]  {escape(experiment.question)}")
    spec = graph.runs[0].stages[0].node.spec
    console.print(
        f"scenario {graph.scenario.name} v{graph.scenario.version}, model {experiment.model.name}, "
        f"{spec['device']}, {spec['precision']}, {'compiled' if spec['compile'] else 'eager'}, store {store.url}"
    )
    waiting = {node.key for node in todo}
    table = Table("run", "train node", "key", "steps", "tokens", "reads", "state", box=None, header_style="dim", pad_edge=False)
    for run in graph.runs:
        label = f"{run.strategy.label}, seed {run.seed}"
        for plan in run.stages:
            node = plan.node
            reads = ", ".join(f"{share:.3g} {name}" for name, share in node.spec["shares"].items())
            state = f"to train, {duration(cost.seconds[node.key])}" if node.key in waiting else "[green]stored[/]"
            steps = str(node.spec["last"] - node.spec["first"])
            table.add_row(label, plan.stage.name, node.key[:8], steps, number(node.cost), reads, state)
            label = ""
    console.print(table)
    for text in graph.warnings:
        console.print(f"[yellow]warning[/] {escape(text)}")
    console.print(totals(graph, todo, cost))


def totals(graph: Graph, todo: list[Node], cost: Estimate) -> str:
    """One line: nodes asked for, distinct, to execute, tokens and time."""
    distinct = {stage.node.key for run in graph.runs for stage in run.stages}
    train = [node for node in todo if node.kind == "train"]
    line = (
        f"{len(graph.runs)} runs ask for {graph.asked} train nodes, {len(distinct)} of them distinct; "
        f"to execute: {len(train)} train nodes of {number(sum(n.cost for n in train))} tokens and "
        f"{len(todo) - len(train)} others"
    )
    if not todo:
        return f"{line}. Everything is stored."
    basis = "as measured in this store" if cost.measured else "a rough guess from a short calibration"
    return f"{line}: about [bold]{duration(cost.total)}[/] at {cost.tokens_per_second:,.0f} tokens/s ({basis})."


class ProgressListener:
    """A bar for the whole graph and one for the node in progress, with the newest loss."""

    def __init__(self, console: Console, todo: list[Node], cost: Estimate) -> None:
        self.cost, self.executed = cost, set[str]()
        self.bars = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"), console=console,
        )
        self.whole = self.bars.add_task("all", total=max(1.0, sum(cost.seconds.values())), note="")
        self.current: TaskID | None = None
        self.done = 0.0

    def started(self, node: Node) -> None:
        """Show a bar for the node."""
        self.current = self.bars.add_task(f"{node.kind} {node.name}", total=1, note="")

    def progress(self, node: Node, done: int, total: int) -> None:
        """Move both bars."""
        if self.current is not None:
            self.bars.update(self.current, completed=done, total=total)
        self.bars.update(self.whole, completed=self.done + self.cost.seconds[node.key] * done / total)

    def point(self, node: Node, point: Point) -> None:
        """Show the newest figures."""
        if self.current is None:
            return
        parts = [f"loss {point.loss:.3f}"] if point.loss is not None else []
        parts += [f"{name} {value:.3f}" for name, value in point.scores.items()]
        speed = f"{point.tokens / point.seconds:,.0f} tok/s" if point.seconds and point.tokens else ""
        self.bars.update(self.current, note="  ".join([*parts, speed]))

    def finished(self, node: Node, seconds: float) -> None:
        """Leave one line about the node and drop its bar."""
        self.executed.add(node.key)
        self.done += self.cost.seconds[node.key]
        self.bars.update(self.whole, completed=self.done)
        if self.current is not None:
            self.bars.remove_task(self.current)
            self.current = None
        self.bars.console.print(f"  [green]done[/] {node.kind:9} {escape(node.name):40} {duration(seconds):>7}  {node.key[:8]}")
