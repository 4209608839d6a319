"""Two processes in place of one: how far each strategy's results are apart, or why it is refused.

    python benchmarks/devices.py [--distributed=ddp] [--strategies=[ewc,reglora]] [--steps=12]

Every named strategy learns two tasks with a fresh model of 0.1 M parameters: text (`tiny`), or instructions
(`instructions_small`) where it needs them, once by one process and once by two on this machine. Printed: the largest
difference of a loss in R, relative, after the last task; and of the mean training loss over the last tenth of a stage.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli

if Path(sys.path[0]) == Path(__file__).parent:  # as in the other benchmarks
    sys.path.pop(0)

from cl import catalog, experiment, graph, runner
from cl.commands import quiet
from cl.errors import UserError
from cl.node import Node
from cl.results import Point
from cl.store import Store


class Silent:
    """A listener that hears nothing."""

    def finished(self, node: Node, seconds: float) -> None:
        """Nothing to say."""

    def progress(self, node: Node, done: int, total: int) -> None:
        """Nothing to say."""

    def point(self, node: Node, point: Point) -> None:
        """Nothing to say."""

    def started(self, node: Node) -> None:
        """Nothing to say."""

    waiting = found = started


def raw(strategy: str, scenario: str, steps: int, devices: int, distributed: str) -> dict[str, Any]:
    """The experiment as plain data."""
    text = scenario == "tiny"
    return {
        "name": "devices",
        "scenario": scenario,
        "model": {"name": "llama-tiny", "vocabulary": 512},
        "strategies": {strategy: None},
        **({"tokens": 8 * 32 * steps} if text else {"examples": 8 * steps}),
        "upto": 2,
        "train": {
            "sequence": 32 if text else 256, "batch": 8, "micro_batch": 2, "lr": 1e-3, "precision": "fp32",
            "compile": False, "device": "cpu", "devices": devices, "distributed": distributed,
        },
        "evaluation": {"tokens": 1024, "items": 0, "points": 2, "share": 0.9, "probe_tokens": 256},
    }  # fmt: skip


def losses(spec: dict[str, Any], store: Store) -> tuple[list[float], list[float]]:
    """Losses of the last row of R, and training losses at the end of each stage."""
    with quiet():
        (run,) = graph.build(experiment.parse(spec)).runs
        nodes = [*(plan.node for plan in run.stages), *run.rows.values()]
        runner.run(runner.pending(nodes, store), store, Silent())
    cells = store.result(run.rows[max(run.rows)])["cells"]
    ends = [store.result(plan.node)["points"][-10:] for plan in run.stages]
    means = [[p["loss"] for p in end if p["loss"] is not None] for end in ends]
    return [c["nll"] / c["tokens"] for c in cells.values()], [sum(each) / len(each) for each in means if each]


def apart(one: list[float], two: list[float]) -> float:
    """The largest relative difference."""
    return max(abs(a - b) / abs(a) for a, b in zip(one, two, strict=True))


def compared(strategy: str, distributed: str, steps: int, folder: str) -> str:
    """A line about a strategy."""
    words = ""
    for scenario in ("tiny", "instructions_small"):
        try:
            one = losses(raw(strategy, scenario, steps, 1, distributed), Store(f"{folder}/one"))
        except UserError as error:
            words = str(error)
            continue
        try:
            two = losses(raw(strategy, scenario, steps, 2, distributed), Store(f"{folder}/{distributed}"))
        except UserError as error:
            return f"{scenario:20} refused: {error}"
        return f"{scenario:20} R {apart(one[0], two[0]):.1e}   training {apart(one[1], two[1]):.1e}"
    return f"not run: {words}"


def main(strategies: list[str] | None = None, distributed: str = "ddp", steps: int = 12) -> None:
    """Run every strategy and print its line."""
    with tempfile.TemporaryDirectory() as folder:
        for strategy in strategies or catalog.names("strategies"):
            print(f"{strategy:22} {compared(strategy, distributed, steps, folder)}", flush=True)


if __name__ == "__main__":
    auto_cli(main)
