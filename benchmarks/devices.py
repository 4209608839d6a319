"""Two processes instead of one: difference between the results of each strategy, or the reason why it is refused.

    python benchmarks/devices.py [--distributed=ddp] [--strategies=[ewc,reglora]] [--steps=12]

Every named strategy learns two tasks with a new model of 0.1 M parameters, once in one process and once in two
processes on this machine. The data are text (`tiny`), or the first later stream of STREAMS that the strategy can learn.
Printed are the largest relative differences of a loss in the last row of R, and of the loss and the gradient norm at
any point of the curves. The norm is included because AdamW hides a wrong length of the gradient.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli

if __name__ == "__main__" and Path(sys.path[0]) == Path(__file__).parent:  # `strategies` below is the package
    sys.path.pop(0)

from cl import registry
from cl.commands.shared import quiet
from cl.config import loading
from cl.errors import UserError
from cl.execution import runner
from cl.execution.store import Store
from cl.graph import planner
from cl.graph.node import Node
from cl.metrics.records import Point

STREAMS = ("tiny", "instructions_small", "medicine_mixture")


class Silent:
    """A listener that does nothing."""

    def finished(self, node: Node, seconds: float) -> None:
        """Do nothing."""

    def progress(self, node: Node, done: int, total: int) -> None:
        """Do nothing."""

    def point(self, node: Node, point: Point) -> None:
        """Do nothing."""

    def started(self, node: Node) -> None:
        """Do nothing."""

    waiting = found = started


def raw(strategy: str, scenario: str, steps: int, devices: int, distributed: str) -> dict[str, Any]:
    """The experiment as plain data."""
    text = scenario != "instructions_small"
    return {
        "name": "devices",
        "scenario": scenario,
        "model": {"name": "llama-tiny", "vocabulary": 512},
        "strategies": {strategy: None},
        **({"tokens": 8 * steps * (32 if scenario == "tiny" else 256)} if text else {"examples": 8 * steps}),
        "upto": None if scenario == "medicine_mixture" else 2,
        "train": {
            "sequence": 32 if scenario == "tiny" else 256, "batch": 8, "micro_batch": 2, "lr": 1e-3,
            "precision": "fp32", "compile": False, "device": "cpu", "devices": devices, "distributed": distributed,
        },
        "evaluation": {"tokens": 1024, "items": 0, "points": 2, "share": 0.9, "probe_tokens": 256},
    }  # fmt: skip


def on_device(device: str, strategies: list[str] | None, folder: str, until: float) -> Iterator[str]:
    """A line per strategy: two tasks of two steps on another kind of device, beside the CPU.

    Args:
        device: `cuda`, for instance.
        strategies: names of strategies; by default all.
        folder: folder of the stores.
        until: `time.monotonic()` after which no strategy is begun.
    """
    for strategy in strategies or registry.names("strategies"):
        if time.monotonic() > until:
            yield f"{strategy:22} not begun: the time is over"
            continue
        words = "no stream of these that it can learn"
        for scenario in STREAMS:
            here, there = (raw(strategy, scenario, 2, 1, "ddp") for _ in range(2))
            there["train"]["device"] = device
            try:
                planner.build(loading.parse(here))
            except UserError as error:
                words = f"not run: {error}"
                continue
            try:
                both = figures(here, Store(f"{folder}/cpu")), figures(there, Store(f"{folder}/{device}"))
                row, loss, norm = (apart(a, b) for a, b in zip(*both, strict=True))
                words = f"{scenario:20} R {row:.1e}   loss {loss:.1e}   gradient {norm:.1e}"
            except Exception as error:  # the next strategies are tried too
                words = f"{scenario:20} FAILED: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            break
        yield f"{strategy:22} {words}"


Figures = tuple[list[float], list[float], list[float]]


def figures(spec: dict[str, Any], store: Store) -> Figures:
    """Losses of the last row of R; training losses and gradient norms at all points."""
    with quiet():
        (run,) = planner.build(loading.parse(spec)).runs
        nodes = [*(plan.node for plan in run.stages), *run.rows.values()]
        runner.run(runner.pending(nodes, store), store, Silent())
    cells = store.result(run.rows[max(run.rows)])["cells"]
    points = [point for plan in run.stages for point in store.result(plan.node)["points"] if point["loss"] is not None]
    row = [cell["nll"] / cell["tokens"] for cell in cells.values()]
    return row, [point["loss"] for point in points], [point["grad_norm"] for point in points]


def apart(one: list[float], two: list[float]) -> float:
    """The largest relative difference between two lists."""
    return max(abs(a - b) / abs(a) for a, b in zip(one, two, strict=True))


def compared(strategy: str, distributed: str, steps: int, folder: str) -> str:
    """The line of a strategy, measured on the first stream that it can learn."""
    words = ""
    for scenario in STREAMS:
        one, two = (raw(strategy, scenario, steps, devices, distributed) for devices in (1, 2))
        try:
            planner.build(loading.parse(one))
        except UserError as error:
            words = str(error)
            continue
        try:
            planner.build(loading.parse(two))
        except UserError as error:
            return f"{scenario:20} refused: {error}"
        both = (figures(one, Store(f"{folder}/one")), figures(two, Store(f"{folder}/{distributed}")))
        row, loss, norm = (apart(a, b) for a, b in zip(*both, strict=True))
        return f"{scenario:20} R {row:.1e}   loss {loss:.1e}   gradient {norm:.1e}"
    return f"not run: {words}"


def main(strategies: list[str] | None = None, distributed: str = "ddp", steps: int = 12) -> None:
    """Run every strategy and print its line.

    Args:
        strategies: names of strategies; by default all.
        distributed: `ddp` or another mode of `train.distributed`.
        steps: optimizer steps per task.
    """
    with tempfile.TemporaryDirectory() as folder:
        for strategy in strategies or registry.names("strategies"):
            print(f"{strategy:22} {compared(strategy, distributed, steps, folder)}", flush=True)


if __name__ == "__main__":
    auto_cli(main)
