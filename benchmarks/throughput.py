"""Training throughput and peak memory: a plain PyTorch loop, our train node at equal settings, our defaults.

    python benchmarks/throughput.py [--models=llama-5m,smollm2-135m-instruct] [--rounds=3] [--steps=24]

Every arm runs in its own process. Arms alternate within a round and ratios are taken within a round, so drift of the
machine cancels. Time counts from step WARM_UP to the last step and includes everything that the loop does in between:
tracking, progress, in-task evaluation. Peak memory is the process's largest resident set. The loss is the mean over the
second half of the steps in nats/token; all train nodes read the same rows, so it shows the cost of a lower precision.
"""

from __future__ import annotations

import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli

if Path(sys.path[0]) == Path(__file__).parent:  # `strategies` below is the package, not the benchmark here
    sys.path.pop(0)

WARM_UP = 3  # steps that allocate memory and compile
SHAPES = {"llama-5m": (8, 256), "smollm2-135m-instruct": (4, 256)}
EQUAL = {"precision": "fp32", "compile": False, "boundaries": False}
ARMS: dict[str, dict[str, Any]] = {
    "plain": EQUAL,
    "equal": EQUAL,
    "default": {"compile": True, "precision": "fp32"},  # the choice of `auto` on a machine without bf16 matrix units
    "bf16": {"compile": True, "precision": "bf16"},
}
ABOUT = {
    "plain": "plain PyTorch loop, fp32, eager",
    "equal": "train node, same settings, tracked",
    "default": "train node, fp32, compiled, validated, tracked",
    "bf16": "the same in bf16 (autocast)",
}


def experiment(model: str, arm: str, steps: int, store: str) -> Any:
    """The experiment of an arm: one stage of German."""
    from cl.config.loading import parse

    batch, sequence = SHAPES.get(model, (4, 256))
    fresh = {"vocabulary": 4096} if model.startswith(("llama", "neox")) else {}
    return parse(
        {
            "name": f"throughput-{arm}",
            "scenario": "english_german",
            "model": {"name": model, **fresh},
            "tokens": batch * sequence * steps,
            "strategies": {"scratch": {}},
            "store": store,
            "train": {"batch": batch, "sequence": sequence, "lr": 1e-4, **ARMS[arm]},
            "evaluation": {"probe_tokens": 1024, "points": 0 if arm == "equal" else 20},
        }
    )


def plain(graph: Any, store: Any) -> list[float]:
    """Time after each step of an ordinary PyTorch loop, on the model and the rows of the first stage."""
    import torch

    from cl.data.rows import rows as read_rows
    from cl.models import pretrained

    node = graph.runs[0].stages[0].node
    settings = graph.experiment.train
    model = pretrained.load(store.path(graph.base)).train()
    rows = read_rows(store.path(graph.data["english"]), "english", "train", settings.sequence)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, fused=True)
    times = []
    for step in range(node.spec.steps):
        ids = torch.stack([rows[step * settings.batch + i].ids for i in range(settings.batch)])
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
        times.append(time.monotonic())
    return times


def ours(graph: Any, store: Any, folder: Path) -> tuple[list[float], float]:
    """Time after each step of the first train node (tracked, displayed), and its loss over the second half."""
    from rich.console import Console

    from cl.execution import cost_estimate, runner
    from cl.reporting.mlflow import Tracker
    from cl.reporting.mlflow_database import default_place
    from cl.reporting.terminal import ProgressListener

    node = graph.runs[0].stages[0].node
    uri, artifacts = default_place(folder)
    tracker = Tracker(uri, "throughput", graph.runs, store, artifacts)
    tracker.connected.wait()  # a real run connects while data are prepared
    times: list[float] = []
    losses: list[float] = []

    class Listener(ProgressListener):
        def progress(self, node: Any, done: int, total: int) -> None:
            times.append(time.monotonic())
            super().progress(node, done, total)

        def point(self, node: Any, point: Any) -> None:
            super().point(node, point)
            tracker.point(node, point)
            if point.step > node.spec.steps / 2:
                losses.append(point.loss)

    display = Listener(Console(stderr=True), [node], cost_estimate.estimate(graph, [node], store))
    with display.bars:
        runner.run([node], store, display)
    tracker.close()
    return times, statistics.mean(losses)


def listener(graph: Any, todo: list[Any], store: Any) -> Any:
    """A display for the nodes that are prepared before the measurement."""
    from rich.console import Console

    from cl.execution import cost_estimate
    from cl.reporting.terminal import ProgressListener

    return ProgressListener(Console(stderr=True), todo, cost_estimate.estimate(graph, todo, store))


def measure(model: str, arm: str, steps: int, store: str) -> dict[str, float]:
    """Run one arm in this process: tokens/s, peak memory in MB, and the loss over the second half."""
    from cl.execution import runner
    from cl.execution.store import Store
    from cl.graph import planner

    planned, found = planner.build(experiment(model, arm, steps, store)), Store(store)
    with tempfile.TemporaryDirectory() as folder:
        todo = runner.pending([planned.base, *planned.data.values()], found)
        runner.run(todo, found, listener(planned, todo, found))
        times, loss = (plain(planned, found), math.nan) if arm == "plain" else ours(planned, found, Path(folder))
    train = planned.experiment.train
    tokens = train.batch * train.sequence * (len(times) - WARM_UP)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"tokens_per_second": tokens / (times[-1] - times[WARM_UP - 1]), "peak_mb": peak, "loss": loss}


def main(models: str = ",".join(SHAPES), rounds: int = 3, steps: int = 24, arm: str = "", store: str = "") -> None:
    """Print a table per model.

    Args:
        models: names of models, separated by commas.
        rounds: measurements per arm.
        steps: optimizer steps per measurement.
        arm: measure only this arm, in this process, and print JSON.
        store: folder of the store of that measurement.
    """
    if arm:
        print(json.dumps(measure(models, arm, steps, store)))
        return
    for model in models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            compare(model, rounds, steps, folder)


def compare(model: str, rounds: int, steps: int, folder: str) -> None:
    """Alternate all arms `rounds` times; print medians, and the median ratio to the plain loop."""
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for turn in range(rounds):
        for arm in ARMS:
            # Each round has another number of steps, so that the store holds no node of an earlier round.
            options = [f"--models={model}", f"--arm={arm}", f"--steps={steps + turn}", f"--store={folder}"]
            done = subprocess.run([sys.executable, __file__, *options], capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{arm} failed:\n{done.stderr[-2000:]}")
            found[arm].append(json.loads(done.stdout.splitlines()[-1]))
    print(f"\n{model}, batch {SHAPES.get(model, (4, 256))}, {rounds} rounds of {steps} steps")
    print(f"{'arm':44} {'tokens/s':>9} {'x plain':>8} {'peak MB':>8} {'loss':>7}")
    for arm, runs in found.items():
        ratios = [r["tokens_per_second"] / p["tokens_per_second"] for r, p in zip(runs, found["plain"], strict=True)]
        speed, peak, loss = (
            statistics.median(r[key] for r in runs) for key in ("tokens_per_second", "peak_mb", "loss")
        )
        ratio = statistics.median(ratios)
        print(f"{ABOUT[arm]:44} {speed:9,.0f} {ratio:8.2f} {peak:8,.0f} {loss:7.3f}", flush=True)


if __name__ == "__main__":
    auto_cli(main)
