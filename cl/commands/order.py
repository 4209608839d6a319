"""`cl order`: estimate the loss after another order of the batches, or of the tasks."""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from cl.commands.shared import build_graph, console, deliver, quiet
from cl.errors import UserError
from cl.execution.store import Store
from cl.redaction import redacted

if TYPE_CHECKING:
    from cl.graph.node import Node
    from cl.graph.planner import Graph
    from cl.sample_order.plan import Ordering

ACTIONS = ("record", "estimate", "validate", "search", "position", "tasks")
MOST_TASK_ORDERS = 120
MUCH_CLIPPED = 0.5
MOVED = 5  # batches that `position` moves by default
Run = Callable[[Sequence["Node"]], None]
Answer = dict[str, Any]


def order(action: str, name: str, settings: list[str]) -> None:
    """Run one action for every run of the chosen strategy; print the answers, write a page and JSON.

    Args:
        action: one of ACTIONS.
        name: name or path of the experiment.
        settings: settings of the command line.
    """
    from cl.sample_order import plan

    planned = build_graph(name, settings)
    with quiet():
        orderings = plan.build(planned)
        store = Store(planned.experiment.store)
    for each in orderings:
        _judge(action, each)
    _show(action, planned, orderings)
    answers: dict[str, Answer] = {}
    for each in orderings:
        label = _label(each)
        run = _runner(planned, store)
        run(each.references)
        _state_bytes(each, store)
        run([each.grid])
        if action != "record":
            answers[label] = _ACTIONS[action](each, store, run)
    if answers:
        _finish(
            action,
            planned,
            store,
            answers,
            " ".join(["cl order", action, shlex.quote(name), *(shlex.quote(redacted(each)) for each in settings)]),
        )


def _judge(action: str, each: Ordering) -> None:
    """Check what an action asks for, before anything is trained.

    Raises:
        UserError: for an order that is no permutation of the batches, an unknown batch, and too many orders of tasks.
    """
    from cl.sample_order import estimator

    if action == "estimate":
        for place, asked in enumerate(each.settings.orders):
            try:
                estimator.check(each.named(asked), each.batches)
            except UserError as error:
                raise UserError(f"order.orders[{place}]: {error}") from error
    elif action == "position" and (wrong := [batch for batch in each.settings.samples or () if batch >= each.batches]):
        raise UserError(f"order.samples: there is no batch {wrong[0]}; the last is {each.batches - 1}")
    elif action == "tasks":
        _task_orders(each)


def _label(each: Ordering) -> str:
    """Name of a run."""
    return f"{each.run.strategy.label} seed {each.run.seed}, {' > '.join(each.run.order)}"


def _show(action: str, planned: Graph, orderings: list[Ordering]) -> None:
    """Print the number of runs, batches and reference runs, and the cost in units of a retraining."""
    first = orderings[0]
    cost = round(len(first.references) + first.points * (1 + first.sets))
    console.print(f"[bold]{escape(planned.experiment.name)}[/]  {escape(planned.experiment.question)}")
    console.print(
        f"{len(orderings)} run(s) of {escape(first.run.strategy.label)}: {first.batches} batches, "
        f"{len(first.references)} reference runs, "
        f"gradients at {first.points} points: preparing a run costs about {cost} retrainings"
    )
    if action == "estimate" and (asked := len(first.settings.orders)) < cost:
        console.print(f"[dim]training {asked} orders costs less; estimates pay off from about {cost} orders on[/]")


def _runner(planned: Graph, store: Store) -> Run:
    """A function that executes nodes with progress bars and protects them from `cl store gc`."""
    from cl.execution import cost_estimate, runner
    from cl.execution.launchers import launcher
    from cl.reporting.terminal import ProgressListener

    def run(nodes: Sequence[Node]) -> None:
        """Execute the missing nodes."""
        store.needed.add(planned.experiment.name, [node.key for node in nodes])
        todo = runner.pending(nodes, store)
        if not todo:
            return
        with quiet():
            cost = cost_estimate.estimate(planned, todo, store)
            listener = ProgressListener(console, todo, cost, None)
            with listener.bars:
                launcher.execute(todo, store, listener, planned.experiment)

    return run


def _state_bytes(each: Ordering, store: Store) -> None:
    """Print the size of the grid before it is filled. Raises UserError if it exceeds `order.gigabytes`."""
    from cl.sample_order import grid

    chosen = each.settings
    columns = each.batches * (2 if chosen.part else 1) + len(each.objective)
    parameters = int(store.result(each.references[0])["parameters"])
    size = grid.nbytes(columns, each.points - 1, parameters)
    console.print(
        f"gradients: {columns} x {each.points} points x {parameters:,} parameters = {size / 1e6:,.0f} MB on disk"
    )
    if size > chosen.gigabytes * 1e9:
        raise UserError(
            f"order.gigabytes: the grid takes {size / 1e9:.1f} GB, more than {chosen.gigabytes:g}; raise it, "
            "raise order.stride, train fewer steps, or use LoRA"
        )


def _estimate(each: Ordering, store: Store, run: Run) -> Answer:
    """Estimate the named orders."""
    asked = each.asked("estimate", orders=tuple(each.named(one) for one in each.settings.orders))
    run([asked])
    return _answer(asked, store)


def _validate(each: Ordering, store: Store, run: Run) -> Answer:
    """Train held-out orders and compare estimates with them."""
    truths = each.held_out()
    run(truths)
    asked = each.asked("validate", truths, ceilings=each.settings.ceilings)
    run([asked])
    return _answer(asked, store)


def _search(each: Ordering, store: Store, run: Run) -> Answer:
    """Search, then train the best orders found; the given order is trained already, as the first reference."""
    chosen = each.settings
    asked = each.asked("search", method=chosen.method, trials=chosen.trials, force=chosen.force)
    run([asked])
    answer = _answer(asked, store)
    real = [each.trace(tuple(found["order"])) for found in answer["found"][: chosen.verify]]
    run(real)
    answer["verified"] = [_real(node, each, store) for node in real]
    answer["given_real"] = _real(each.references[0], each, store)
    return answer


def _real(node: Node, each: Ordering, store: Store) -> Answer:
    """Mean loss of a real run on validation and test data."""
    result = store.result(node)
    means = {
        split: sum(result[split][name] for name in each.objective) / len(each.objective)
        for split in ("validation", "test")
    }
    return {"order": result["order"], "loss": means["validation"], "test": means["test"]}


def _position(each: Ordering, store: Store, run: Run) -> Answer:
    """Estimate the effect of a batch's position."""
    chosen, last = each.settings, each.batches - 1
    samples = chosen.samples or sorted({round(i * last / (MOVED - 1)) for i in range(MOVED)})
    asked = each.asked("position", samples=tuple(samples), design=chosen.design, draws=chosen.draws)
    run([asked])
    return _answer(asked, store)


def _tasks(each: Ordering, store: Store, run: Run) -> Answer:
    """Estimate every order of the tasks."""
    found = _task_orders(each)
    asked = each.asked("tasks", task_orders=tuple(map(tuple, found)))
    run([asked])
    answer = _answer(asked, store)
    names = [plan.stage.name for plan in each.stages]
    for row in answer["task_orders"]:
        row["tasks"] = [names[task] for task in row["tasks"]]
    return answer


def _task_orders(each: Ordering) -> list[list[int]]:
    """Every order of the tasks. Raises UserError if there is one, or too many."""
    tasks = range(len(each.lengths))
    found = [list(order) for order in itertools.islice(itertools.permutations(tasks), MOST_TASK_ORDERS + 1)]
    if len(found) > MOST_TASK_ORDERS:
        raise UserError(f"order: {len(tasks)} tasks have more than {MOST_TASK_ORDERS} orders; raise order.first")
    if len(found) < 2:
        raise UserError("order: one task has one order; lower order.first, or ask for the order of its batches")
    return found


def _answer(node: Node, store: Store) -> Answer:
    """Result of an order node, with its key."""
    return {"node": node.key, **store.result(node)}


_ACTIONS: dict[str, Callable[[Ordering, Store, Run], Answer]] = {
    "estimate": _estimate,
    "validate": _validate,
    "search": _search,
    "position": _position,
    "tasks": _tasks,
}


def _finish(action: str, planned: Graph, store: Store, answers: dict[str, Answer], command: str) -> None:
    """Write and print the answers, and track them."""
    from cl.reporting.html import orders

    folder = Path(planned.experiment.output) / planned.experiment.name
    folder.mkdir(parents=True, exist_ok=True)
    file, page = folder / f"order_{action}.json", folder / f"order_{action}.html"
    file.write_text(json.dumps({"command": command, "answers": answers}, indent=1), encoding="utf-8")
    orders.write(action, planned.experiment.question or planned.experiment.name, answers, page)
    for label, answer in answers.items():
        console.print(f"\n[bold]{escape(label)}[/]  {escape(orders.headline(action, answer))}")
        signals = answer["fidelity"]
        console.print(
            f"fidelity {signals['verdict']}: misses {signals['defect']:.0%} of the change of gradients; "
            f"readout {answer['readout']}"
        )
        if signals["clipped"] > MUCH_CLIPPED:
            console.print(
                f"[yellow]{signals['clipped']:.0%} of the estimated steps clip their gradient, which makes errors "
                "jump; validate before you trust ranks, or raise train.clip[/]"
            )
        if signals["buried"]:
            console.print(
                f"[yellow]estimates of orders differ by {signals['effect']:.2g} nats, less than the given order's real "
                f"run and its recomputation ({signals['noise']:.2g}): ranks are noise[/]"
            )
        if action == "validate":
            console.print(_agreement(answer["agreement"]))
    console.print(f"page     {escape(str(page))}\nresults  {escape(str(file))}")
    _track(planned, store, action, answers, [file, page])


def _agreement(rows: list[dict[str, Any]]) -> Table:
    """Table of agreement between estimates and real runs."""
    from cl.reporting.formatting import fixed

    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("estimator", "Spearman (95 %)", "|error|", "regret", "path error"):
        table.add_column(column, justify="left" if column == "estimator" else "right", no_wrap=True)
    for row in rows:
        low, high = map(fixed, row["spearman_interval"])
        ranks = f"{fixed(row['spearman'])} ({low} to {high})"
        table.add_row(row["name"], ranks, fixed(row["error"], 4), fixed(row["regret"]), fixed(row["path"]))
    table.add_row("a constant", "–", fixed(rows[0]["constant"], 4), "–", fixed(1.0))
    return table


def _track(planned: Graph, store: Store, action: str, answers: dict[str, Answer], files: list[Path]) -> None:
    """Track each answer as an MLflow run."""
    from cl.reporting.mlflow_values import Beside

    results = []
    for label, answer in answers.items():
        figures = {f"cost/{key}": value for key, value in answer["cost"].items()}
        figures |= {f"fidelity/{key}": value for key, value in answer["fidelity"].items() if isinstance(value, float)}
        if action == "validate":
            best = answer["agreement"][0]
            names = ("spearman", "kendall", "error", "constant", "regret", "path")
            figures |= {f"agreement/{name}": best[name] for name in names if best[name] is not None}
        elif action == "search":
            figures |= {"search/estimated": answer["found"][0]["loss"], "search/given": answer["given"]}
            figures |= {"search/verified": min(run["loss"] for run in answer["verified"])} if answer["verified"] else {}
        params = {
            "action": action,
            "run": label,
            "readout": answer["readout"],
            "verdict": answer["fidelity"]["verdict"],
        }
        results.append(Beside(f"order {action}: {label}", answer["node"], params, figures, files))
    deliver(planned.experiment, store, results)
