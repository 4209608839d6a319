"""Training of several arms in turn, one step of each at a time, so that drift of the machine cancels in their ratios.

A benchmark supplies a function `NodeOf`: the train node of an arm, for a number of steps and a store.
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
from collections.abc import Callable, Mapping
from typing import Any

WARM_UP = 2  # steps that are not counted
TOGETHER = 5  # arms in memory at once, in addition to the first
NodeOf = Callable[[str, int, str], Any]
"""Maps an arm, a number of steps and a store to the arm's train node."""


class Silent:
    """A listener that ignores every event."""

    def waiting(self, *_: Any) -> None:
        """Do nothing."""

    started = progress = found = point = finished = waiting


class Turns:
    """Lets threads step one after another, always in the same order.

    Args:
        arms: the arms in their order.
    """

    def __init__(self, arms: list[str]) -> None:
        self.arms, self.condition, self.at = arms, threading.Condition(), 0

    def wait(self, arm: str) -> None:
        """Wait until it is this arm's turn."""
        with self.condition:
            self.condition.wait_for(lambda: self.arms[self.at % len(self.arms)] == arm)

    def next(self) -> None:
        """End the current turn."""
        with self.condition:
            self.at += 1
            self.condition.notify_all()


class Stepper(Silent):
    """The listener of one arm: times its steps and waits for its turn between them.

    Args:
        arm: the arm.
        turns: the order of all arms.
    """

    def __init__(self, arm: str, turns: Turns) -> None:
        self.arm, self.turns, self.steps, self.since = arm, turns, list[float](), 0.0

    def progress(self, node: Any, done: int, total: int) -> None:
        """End a step and wait for the next turn; the first call of a node comes before its first step."""
        self.steps.append(time.monotonic() - self.since)
        self.turns.next()
        if done < total:
            self.turns.wait(self.arm)
            self.since = time.monotonic()


def prepare(node_of: NodeOf, arm: str, steps: int, store: str) -> None:
    """Compute all nodes that the arm's node depends on."""
    from cl.execution import runner
    from cl.execution.store import Store

    node, found = node_of(arm, steps, store), Store(store)
    for parent in (*node.parents.values(), *node.uses.values()):
        runner.run(runner.pending([parent], found), found, Silent())


def timed(node_of: NodeOf, arms: list[str], steps: int, store: str) -> dict[str, list[float]]:
    """Seconds of each step of each arm, without the first WARM_UP steps."""
    from cl.execution import runner
    from cl.execution.store import Store

    turns, found = Turns(arms), Store(store)
    steppers = {arm: Stepper(arm, turns) for arm in arms}
    # planned before any arm loads its model: planning makes models without weights by a switch of the whole process
    nodes = {arm: node_of(arm, steps, store) for arm in arms}

    def train(arm: str) -> None:
        """Train the arm's node, a step in each of its turns."""
        turns.wait(arm)  # loading and the first step
        steppers[arm].since = time.monotonic()
        try:
            runner.run([nodes[arm]], found, steppers[arm])
        except BaseException:  # end the process: the other arms would wait for this arm forever
            traceback.print_exc()
            os._exit(1)

    threads = [threading.Thread(target=train, args=(arm,)) for arm in arms]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {arm: stepper.steps[WARM_UP:] for arm, stepper in steppers.items()}


def measured(node_of: NodeOf, arm: str, store: str) -> float:
    """Peak memory in MB of this process after training WARM_UP + 1 steps."""
    from cl.execution import runner
    from cl.execution.store import Store

    runner.run([node_of(arm, WARM_UP + 1, store)], Store(store), Silent())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(  # keyword options are those that a script passes to its own processes
    node_of: NodeOf, implied: Mapping[str, str], title: str, options: list[str], *, steps: int, arms: list[str] | None,
    store: str, memory: str,
) -> None:  # fmt: skip
    """Print a table of the arms relative to the first arm of `implied`; with `store` or `memory`, print JSON.

    Args:
        node_of: the train node of an arm.
        implied: expected cost of each arm, in words.
        title: first line of the table.
        options: command line of the script, for the processes that it starts.
        steps: steps per arm.
        arms: arms to measure; None for all.
        store: time the arms in this process, with a store in this folder.
        memory: measure the memory of this arm in this process.
    """
    base = next(iter(implied))
    chosen = [arm for arm in arms or implied if arm != base]
    if memory:
        print(json.dumps(measured(node_of, memory, store)))
    elif store:
        for arm in [base, *chosen]:
            for count in (steps, WARM_UP + 1):  # of the timed node, and of the node whose memory is measured
                prepare(node_of, arm, count, store)
        print(json.dumps(timed(node_of, [base, *chosen], steps, store)))
    else:
        print(f"{title}, {steps - WARM_UP} steps, one of each arm in turn")
        with tempfile.TemporaryDirectory() as folder:
            _compare(implied, base, chosen, steps, [*options, f"--store={folder}"])


def _compare(implied: Mapping[str, str], base: str, arms: list[str], steps: int, options: list[str]) -> None:
    """Time the arms in groups and measure their memory; print medians, and ratios to the first arm."""
    print(f"{'arm':18} {'s/step':>7} {'x':>6} {'peak MB':>8} {'x':>6}  implied, relative to {base}")
    base_memory = 0.0
    for turn, group in enumerate(arms[start : start + TOGETHER] for start in range(0, len(arms), TOGETHER)):
        # Each group has another number of steps, so that the store holds no node of an earlier group.
        seconds = _call([*options, f"--arms=[{','.join(group)}]", f"--steps={steps + turn}"])
        for arm in [*([base] if not turn else []), *group]:
            peak = _call([*options, f"--memory={arm}"])
            base_memory = base_memory or peak
            ratio = statistics.median(a / b for a, b in zip(seconds[arm], seconds[base], strict=True))
            row = f"{arm:18} {statistics.median(seconds[arm]):7.2f} {ratio:6.2f} {peak:8,.0f} {peak / base_memory:6.2f}"
            print(f"{row}  {implied.get(arm, '')}", flush=True)


def _call(options: list[str]) -> Any:
    # One heap for all threads: separate heaps would keep the memory of each arm's activations.
    """Run the script in a new process and return the JSON that it prints."""
    one_heap = os.environ | {"MALLOC_ARENA_MAX": "1"}
    done = subprocess.run([sys.executable, *options], capture_output=True, text=True, check=False, env=one_heap)
    if done.returncode < 0:
        sys.exit(f"{' '.join(options)} was killed (signal {-done.returncode}), probably for memory: name fewer --arms")
    if done.returncode:
        sys.exit(f"{' '.join(options)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
