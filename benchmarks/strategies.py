"""What each strategy costs beside sequential LoRA: step time and peak memory of the second task.

    python benchmarks/strategies.py [--model=smollm2-135m-instruct] [--rounds=2] [--steps=8]

Every arm trains the second of three instruction tasks (`instructions_small`) from the state after the first, in a
process of its own; arms alternate within a round, and ratios are taken within a round, so a drift of the machine
cancels. Loading, consolidation and the first steps (WARM_UP) are not in the time; looks are off. Peak memory is the
process's largest resident set, loading included.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli

if Path(sys.path[0]) == Path(__file__).parent:  # the package `strategies` is meant below, not the benchmark beside us
    sys.path.pop(0)

WARM_UP = 2  # steps
IMPLIED = {
    "lora_sequential": "1",
    "lora_incremental": "one more product of rank r per module",
    "lora_merged": "1",
    "lora_replay": "1: examples are replaced, not added",
    "reglora": "products of rank r at 2 % of the entries",
    "o_lora": "one r x r product per module and earlier task",
    "lora_ewc": "a pass over the adapter",
    "lora_mas": "a pass over the adapter",
    "lora_si": "some passes over the adapter",
    "n_lora": "the dense update of every module",
    "sefe": "as reglora; other questions",
}


def graph_of(model: str, strategy: str, steps: int, store: str) -> Any:
    """The experiment's graph: the stage of interest has `steps` steps."""
    from cl import graph
    from cl.experiment import parse

    return graph.build(
        parse(
            {
                "name": f"cost-{strategy}",
                "scenario": "instructions_small",
                "model": {"name": model} | ({"vocabulary": 4096} if model.startswith(("llama", "neox")) else {}),
                "examples": {"sums": 64, "syllogisms": 8 * steps, "nouns": 8},
                "strategies": {strategy: {}},
                "store": store,
                "train": {"batch": 8, "sequence": 320, "lr": 1e-4, "precision": "fp32"},
                "evaluation": {"points": 0},
            }
        )
    )


class Watch:
    """A listener that keeps the time after each step of the newest train node."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def started(self, *_: Any) -> None:
        """Begin anew."""
        self.times = []

    def progress(self, *_: Any) -> None:
        """Note the time."""
        self.times.append(time.monotonic())

    def waiting(self, *_: Any) -> None:
        """Nothing to do, as for all the rest."""

    found = point = finished = waiting


def measure(model: str, strategy: str, steps: int, store: str) -> dict[str, float]:
    """Run one arm in this process: seconds per step and peak memory in MB."""
    from cl import runner
    from cl.store import Store

    node = graph_of(model, strategy, steps, store).runs[0].stages[1].node
    watch, found = Watch(), Store(store)
    runner.run(runner.pending([node], found), found, watch)
    seconds = (watch.times[-1] - watch.times[WARM_UP - 1]) / (len(watch.times) - WARM_UP)
    return {"seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def prepare(model: str, strategy: str, steps: int, store: str) -> None:
    """Compute all that the stage of interest stands on, so that it is not in an arm's peak memory."""
    from cl import runner
    from cl.store import Store

    node = graph_of(model, strategy, steps, store).runs[0].stages[1].node
    found = Store(store)
    for parent in (*node.parents.values(), *node.uses.values()):
        runner.run(runner.pending([parent], found), found, Watch())


def main(
    model: str = "smollm2-135m-instruct", rounds: int = 2, steps: int = 8, arm: str = "", store: str = "", job: str = ""
) -> None:
    """Print a table; with `arm` and `store`, do one job of it: prepare, or measure and print JSON."""
    if job:
        print(json.dumps({"prepare": prepare, "measure": measure}[job](model, arm, steps, store)))
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(model, rounds, steps, folder)


def compare(model: str, rounds: int, steps: int, folder: str) -> None:
    """Alternate all arms `rounds` times and print medians, and medians of the ratios to sequential LoRA."""
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in IMPLIED}
    for turn in range(rounds):
        for arm in IMPLIED:
            for job in ("prepare", "measure"):
                # Each round has its own number of steps, so that no node of the round before is found in the store.
                options = [f"--model={model}", f"--arm={arm}", f"--steps={steps + turn}", f"--store={folder}"]
                call = [sys.executable, __file__, *options, f"--job={job}"]
                done = subprocess.run(call, capture_output=True, text=True, check=False)
                if done.returncode:
                    sys.exit(f"{arm} failed:\n{done.stderr[-2000:]}")
            found[arm].append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{model}, batch 8, {rounds} rounds of {steps} steps of the second task")
    print(f"{'strategy':18} {'s/step':>7} {'x':>6} {'peak MB':>8} {'x':>6}  implied beside sequential LoRA")
    first = found["lora_sequential"]
    for arm, runs in found.items():
        row = [arm.ljust(18)]
        for key, form in (("seconds", "7.2f"), ("peak_mb", "8,.0f")):
            ratio = statistics.median(run[key] / base[key] for run, base in zip(runs, first, strict=True))
            row += [f"{statistics.median(run[key] for run in runs):{form}}", f"{ratio:6.2f}"]
        print(*row, "", IMPLIED[arm], flush=True)


if __name__ == "__main__":
    auto_cli(main)
