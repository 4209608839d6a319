"""What each strategy costs beside sequential LoRA: step time and peak memory of the second task.

    python benchmarks/strategies.py [--model=smollm2-135m-instruct] [--steps=12] [--arms=[reglora,lora_ewc]]

Every arm trains the second of three instruction tasks (`instructions_small`) from the state after the first. Time:
groups of arms train in one process, one step of each in turn, sequential LoRA in every group; a ratio is the median
over steps of an arm's time for a step to sequential LoRA's for the step of that number, so a drift of the machine
cancels.
Memory: each arm in a process of its own, the largest resident set, loading included. Loading, consolidation and the
first steps (WARM_UP) are not in the time; looks are off.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli

if Path(sys.path[0]) == Path(__file__).parent:  # the package `strategies` is meant below, not the benchmark beside us
    sys.path.pop(0)

WARM_UP = 2  # steps
TOGETHER = 5  # arms in memory at once, beside the first
BASE = "lora_sequential"
IMPLIED = {
    BASE: "1",
    "lora_incremental": "one more product of rank r per module",
    "lora_merged": "1",
    "lora_alone": "1",
    "lora_replay": "1: examples are replaced, not added",
    "lora_agem": "1: two backward passes, of fewer rows each",
    "lora_der": "1 + two products of D x D a replayed token",
    "reglora": "products of rank r at 2 % of the entries",
    "lora_styles": "1; other, longer questions",
    "sefe": "as reglora; other, longer questions",
    "o_lora": "one r x r product per module and earlier task",
    "n_lora": "the dense update of every module",
    "inf_lora": "less than 1: A is frozen",
    "lora_ewc": "a pass over the adapter",
    "lora_mas": "a pass over the adapter",
    "lora_si": "some passes over the adapter",
    "extra_forward": "a forward pass, as the floor of LwF",
    "lora_lwf": "a forward pass, and the logits of learned tokens twice",
    "moe_lora": "a router per module, gates on the rank",
    "prompt_tuning": "longer input, no adapters",
    "osf": "full weights in factors, projected gradients",
    "seq_star": "no backward pass through the model",
}


def node_of(model: str, strategy: str, steps: int, store: str) -> Any:
    """The train node of the second task, which has so many steps."""
    from cl import graph
    from cl.experiment import parse

    named = {"from": "benchmarks/extra_forward.yaml"} if strategy == "extra_forward" else {}
    planned = graph.build(
        parse(
            {
                "name": "cost",
                "scenario": "instructions_small",
                "model": {"name": model} | ({"vocabulary": 4096} if model.startswith(("llama", "neox")) else {}),
                "examples": {"sums": 64, "syllogisms": 8 * steps, "nouns": 8},
                "strategies": {strategy: named},
                "store": store,
                "train": {"batch": 8, "sequence": 320, "lr": 1e-4, "precision": "fp32"},
                "evaluation": {"points": 0},
            }
        )
    )
    return next(plan.node for plan in planned.runs[0].stages if plan.stage.t == 2)


class Silent:
    """A listener to whom everything is one."""

    def waiting(self, *_: Any) -> None:
        """Nothing to do."""

    started = progress = found = point = finished = waiting


class Turns:
    """Lets threads step one after the other, always in the same order."""

    def __init__(self, arms: list[str]) -> None:
        self.arms, self.condition, self.at = arms, threading.Condition(), 0

    def wait(self, arm: str) -> None:
        """Until it is this arm's turn."""
        with self.condition:
            self.condition.wait_for(lambda: self.arms[self.at % len(self.arms)] == arm)

    def next(self) -> None:
        """Hand over to the next arm."""
        with self.condition:
            self.at += 1
            self.condition.notify_all()


class Stepper(Silent):
    """The listener of one arm: times its steps, and waits for its turn between them."""

    def __init__(self, arm: str, turns: Turns) -> None:
        self.arm, self.turns, self.steps, self.since = arm, turns, list[float](), 0.0

    def progress(self, node: Any, done: int, total: int) -> None:
        """A step has ended, or, at a node's first call, is about to begin."""
        self.steps.append(time.monotonic() - self.since)
        self.turns.next()
        if done < total:
            self.turns.wait(self.arm)
            self.since = time.monotonic()


def prepare(model: str, strategy: str, steps: int, store: str) -> None:
    """Compute all that the second task stands on."""
    from cl import runner
    from cl.store import Store

    node, found = node_of(model, strategy, steps, store), Store(store)
    for parent in (*node.parents.values(), *node.uses.values()):
        runner.run(runner.pending([parent], found), found, Silent())


def timed(model: str, arms: list[str], steps: int, store: str) -> dict[str, list[float]]:
    """Seconds of each step of each arm, the first ones left out."""
    from cl import runner
    from cl.store import Store

    turns, found = Turns(arms), Store(store)
    steppers = {arm: Stepper(arm, turns) for arm in arms}

    def train(arm: str) -> None:
        node = node_of(model, arm, steps, store)
        turns.wait(arm)  # loading and the first step
        steppers[arm].since = time.monotonic()
        try:
            runner.run([node], found, steppers[arm])
        except BaseException:  # the others would wait for this arm's turn to end
            traceback.print_exc()
            os._exit(1)

    threads = [threading.Thread(target=train, args=(arm,)) for arm in arms]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {arm: stepper.steps[WARM_UP:] for arm, stepper in steppers.items()}


def measured(model: str, strategy: str, store: str) -> float:
    """Peak memory in MB of this process, which trains some steps of the second task."""
    from cl import runner
    from cl.store import Store

    runner.run([node_of(model, strategy, WARM_UP + 1, store)], Store(store), Silent())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(
    model: str = "smollm2-135m-instruct",
    steps: int = 12,
    arms: list[str] | None = None,
    store: str = "",
    memory: str = "",
) -> None:
    """Print a table; with `store`, do one part of it in this process and print JSON."""
    chosen = [arm for arm in arms or IMPLIED if arm != BASE]
    if memory:
        print(json.dumps(measured(model, memory, store)))
    elif store:
        for arm in [BASE, *chosen]:
            prepare(model, arm, steps, store)
        print(json.dumps(timed(model, [BASE, *chosen], steps, store)))
    else:
        with tempfile.TemporaryDirectory() as folder:
            compare(model, chosen, steps, folder)


def compare(model: str, arms: list[str], steps: int, folder: str) -> None:
    """Time the arms in groups and measure their memory; print medians, and ratios to sequential LoRA."""
    print(f"{model}, batch 8, {steps - WARM_UP} steps of the second task, one of each arm in turn")
    print(f"{'strategy':18} {'s/step':>7} {'x':>6} {'peak MB':>8} {'x':>6}  implied beside sequential LoRA")
    base_memory = 0.0
    for turn, group in enumerate(arms[start : start + TOGETHER] for start in range(0, len(arms), TOGETHER)):
        # Each group has its own number of steps, so that no node of the group before is found in the store.
        options = [f"--model={model}", f"--store={folder}", f"--arms=[{','.join(group)}]", f"--steps={steps + turn}"]
        seconds = _call(options)
        for arm in [*([BASE] if not turn else []), *group]:
            peak = _call([f"--model={model}", f"--store={folder}", f"--memory={arm}"])
            base_memory = base_memory or peak
            ratio = statistics.median(a / b for a, b in zip(seconds[arm], seconds[BASE], strict=True))
            row = f"{arm:18} {statistics.median(seconds[arm]):7.2f} {ratio:6.2f} {peak:8,.0f} {peak / base_memory:6.2f}"
            print(f"{row}  {IMPLIED.get(arm, '')}", flush=True)


def _call(options: list[str]) -> Any:
    done = subprocess.run([sys.executable, __file__, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(options)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    auto_cli(main)
