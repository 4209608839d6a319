"""One trial in its own process: `python -m cl.tuning.trial_process` reads an experiment and reports line by line.

Standard input: {"experiment": plain data, "objectives": keys}. Standard output, one JSON object a line:

* {"step", "value"} while it trains. The value is the mean validation loss of the tasks so far in nats per token,
  negated if the first objective is better high.
* {"asked", "executed"}: numbers of train nodes.
* {"values"} of the objectives at the end, or {"error"}.

Rows of R are measured on validation data (`evaluation.split`), so no value depends on a test split or a retain set.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Callable, Mapping
from typing import Any

from cl import signals
from cl.config import loading
from cl.errors import UserError
from cl.execution import child_process, collect, runner
from cl.execution.store import Store
from cl.graph import planner
from cl.graph.node import Node
from cl.graph.run_plan import RunPlan, StagePlan
from cl.graph.specs import TrainSpec
from cl.metrics.records import Cell, Point
from cl.metrics.run_metrics import better, named

STAGE, EVALUATIONS = 1000, 10
"""Steps per stage as the pruner counts them, and reports inside a stage; trials are compared at these steps only."""
Say = Callable[[dict[str, Any]], None]


class Follower:
    """Listener that reports the training points of a node and counts executed nodes.

    Args:
        report: called with each point.
    """

    def __init__(self, report: Callable[[Node, Point], None]) -> None:
        self.report = report
        self.executed: list[str] = []

    def waiting(self, node: Node) -> None:
        """Report nothing: another trial computes the node."""

    def found(self, node: Node) -> None:
        """Report nothing."""

    def started(self, node: Node) -> None:
        """Report nothing."""

    def progress(self, node: Node, done: int, total: int) -> None:
        """Report nothing: points are enough."""

    def point(self, node: Node, point: Point) -> None:
        """Report a point inside a stage."""
        self.report(node, point)

    def note(self, node: Node, text: str) -> None:
        """Print the sentence, for the log of the study."""
        print(f"{node.kind} {node.name}: {text}", file=sys.stderr)

    def finished(self, node: Node, seconds: float) -> None:
        """Count the node."""
        self.executed.append(node.key)


def run(raw: Mapping[str, Any], objectives: list[str], say: Say) -> None:
    """Execute a trial.

    Args:
        raw: the experiment as plain data.
        objectives: keys of the metrics to report.
        say: writes one line.

    Raises:
        UserError: an objective has no value.
    """
    planned = planner.build(loading.parse(dict(raw)))
    (run,) = planned.runs
    store = Store(planned.experiment.store)
    nodes = [*(plan.node for plan in run.stages), *run.rows.values()]
    store.needed.add(planned.experiment.name, [node.key for node in nodes])
    sign = 1 if better(objectives[0]) == "lower" else -1
    executed: list[str] = []
    trained = {plan.node.key for plan in run.stages}
    say({"asked": len(run.stages), "executed": 0})
    for place, plan in enumerate(run.stages):
        executed += _stage(run, place, plan, store, lambda step, loss: say({"step": step, "value": sign * loss}))
        say({"executed": len(trained & set(executed))})
    follower = Follower(lambda node, point: None)
    runner.run(runner.pending(run.rows.values(), store), store, follower)
    found = named(collect.run_result(run, store, set(executed)), keys=objectives)
    missing = [key for key in objectives if key not in found or math.isnan(found[key].value)]
    if missing:
        reason = found[missing[0]].reason if missing[0] in found else "the tasks have no such scores"
        raise UserError(f"tune.objectives: {missing[0]} has no value: {reason}")
    say({"values": [found[key].value for key in objectives]})


def _stage(run: RunPlan, place: int, plan: StagePlan, store: Store, say: Callable[[int, float], None]) -> list[str]:
    """Train a stage and measure its row; report the same points and row whether they are computed or found."""
    node, tasks = plan.node, run.order[: plan.stage.row or plan.stage.t]
    assert isinstance(node.spec, TrainSpec)
    steps, reported = node.spec.last - node.spec.first, set[int]()

    def report(of: Node, point: Point) -> None:
        losses = [point.scores[name] for name in tasks if name in point.scores]
        number = EVALUATIONS * point.step // steps
        inside = 0 < number < EVALUATIONS and number not in reported
        if of.key == node.key and inside and tasks and len(losses) == len(tasks):
            reported.add(number)
            say(place * STAGE + number * STAGE // EVALUATIONS, statistics.fmean(losses))

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
    """Run the trial described on standard input; exit code 2 for bad input."""
    say, spec = child_process.reporter(), json.load(sys.stdin)
    try:
        with signals.handled():
            run(spec["experiment"], spec["objectives"], say)
    except UserError as error:
        say({"error": str(error)})
        return 2
    except signals.Interrupted as stop:
        return 128 + stop.number
    return 0


if __name__ == "__main__":
    signals.until_the_end()
    sys.exit(main())
