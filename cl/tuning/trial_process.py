"""One trial in its own process: `python -m cl.tuning.trial_process` reads an experiment and reports line by line.

In: {"experiment": plain data, "objectives": keys}. Out, one JSON object a line: {"step", "value"} while it trains,
{"asked", "executed"} train nodes, and {"values"} at the end, or {"error"}. The value of a step is the mean validation
loss of the tasks so far, in nats per token, negative where objectives are better high; rows of R are measured on
validation data (`evaluation.split`), so nothing of a test split or a retain set is there to be looked at.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
from collections.abc import Callable, Mapping
from typing import Any

from cl.config import loading
from cl.errors import UserError
from cl.execution import collect, runner
from cl.execution.store import Store
from cl.graph import planner
from cl.graph.node import Node
from cl.graph.run_plan import RunPlan, StagePlan
from cl.metrics.records import Cell, Point
from cl.metrics.run_metrics import better, named

STAGE, LOOKS = 1000, 10
"""Steps of a stage as the pruner counts them, and places inside one: trials can be compared at the same places only."""
Say = Callable[[dict[str, Any]], None]


class Follower:
    """Says what happens inside a stage, and counts what is executed."""

    def __init__(self, report: Callable[[Node, Point], None]) -> None:
        self.report = report
        self.executed: list[str] = []

    def waiting(self, node: Node) -> None:
        """Nothing to say: another trial computes it."""

    def found(self, node: Node) -> None:
        """Nothing to say."""

    def started(self, node: Node) -> None:
        """Nothing to say."""

    def progress(self, node: Node, done: int, total: int) -> None:
        """Nothing to say: points are enough."""

    def point(self, node: Node, point: Point) -> None:
        """A look inside a stage."""
        self.report(node, point)

    def finished(self, node: Node, seconds: float) -> None:
        """Count it."""
        self.executed.append(node.key)


def run(raw: Mapping[str, Any], objectives: list[str], say: Say) -> None:
    """Execute a trial. Raises UserError for an objective without a value."""
    planned = planner.build(loading.parse(dict(raw)))
    (run,) = planned.runs
    store = Store(planned.experiment.store)
    nodes = [*(plan.node for plan in run.stages), *run.rows.values()]
    store.protect(planned.experiment.name, [node.key for node in nodes])
    sign = 1 if better(objectives[0]) == "lower" else -1
    executed: list[str] = []
    trained = {plan.node.key for plan in run.stages}
    say({"asked": len(run.stages), "executed": 0})
    for place, plan in enumerate(run.stages):
        executed += _stage(run, place, plan, store, lambda step, loss: say({"step": step, "value": sign * loss}))
        say({"executed": len(trained & set(executed))})
    follower = Follower(lambda node, point: None)
    runner.run(runner.pending(run.rows.values(), store), store, follower)
    found = named(collect.run_result(run, store, set(executed)))
    missing = [key for key in objectives if key not in found or math.isnan(found[key].value)]
    if missing:
        reason = found[missing[0]].reason if missing[0] in found else "the tasks have no such scores"
        raise UserError(f"tune.objectives: {missing[0]} has no value: {reason}")
    say({"values": [found[key].value for key in objectives]})


def _stage(run: RunPlan, place: int, plan: StagePlan, store: Store, say: Callable[[int, float], None]) -> list[str]:
    """Train a stage and measure its row, looks and row told alike whether they are computed or found."""
    node, tasks = plan.node, run.order[: plan.stage.row or plan.stage.t]
    steps, places = node.spec["last"] - node.spec["first"], set[int]()

    def report(of: Node, point: Point) -> None:
        losses = [point.scores[name] for name in tasks if name in point.scores]
        look = LOOKS * point.step // steps
        if of.key == node.key and 0 < look < LOOKS and look not in places and tasks and len(losses) == len(tasks):
            places.add(look)
            say(place * STAGE + look * STAGE // LOOKS, statistics.fmean(losses))

    follower, stored = Follower(report), store.has(node)
    runner.run(runner.pending([node], store), store, follower)
    if stored:
        for point in store.result(node)["points"]:
            report(node, Point(**point))
    row = run.rows.get(plan.stage.row or -1)
    if row is not None:
        runner.run(runner.pending([row], store), store, follower)
        cells = store.result(row)["cells"]
        say((place + 1) * STAGE, statistics.fmean(Cell(**cells[name]).loss for name in tasks))
    return follower.executed


def main() -> int:
    """Run the trial that stands on standard input; the exit code is 2 after bad input."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print goes to the log

    def say(line: dict[str, Any]) -> None:
        print(json.dumps(line), file=out, flush=True)

    spec = json.load(sys.stdin)
    try:
        run(spec["experiment"], spec["objectives"], say)
    except UserError as error:
        say({"error": str(error)})
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
