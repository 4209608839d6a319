"""What the store saves: a comparison of six strategies, and a study of twenty trials, with it and without.

    python benchmarks/amortisation.py [--seeds=3] [--trials=20] [--tokens=8192]

Five domains, six strategies x seeds, then a random search over a rate and a share of replay, each with one store for
all and with a store for each run or trial that has tokenizer and data only, in turns: preparing those again and again
is nothing that anybody would do. Printed: train nodes asked for, the theoretical minimum (distinct keys), executed, and
seconds. llama-tiny, so what a node costs whatever its size weighs more than it would elsewhere.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from jsonargparse import auto_cli

if Path(sys.path[0]) == Path(__file__).parent:  # as in the other benchmarks
    sys.path.pop(0)

from cl.commands.shared import quiet
from cl.config import loading, search_ranges
from cl.execution import runner
from cl.execution.store import Store
from cl.graph import planner
from cl.graph.node import Node
from cl.metrics.records import Point
from cl.tuning import studies

STRATEGIES = ("finetune", "rewarm", "rewarm_replay", "rewarm_replay_25", "constant_low", "ewc")


class Count:
    """Counts train nodes that are executed."""

    def __init__(self) -> None:
        self.executed = 0

    def finished(self, node: Node, seconds: float) -> None:
        """Count a node."""
        self.executed += node.kind == "train"

    def progress(self, node: Node, done: int, total: int) -> None:
        """Nothing to say."""

    def point(self, node: Node, point: Point) -> None:
        """Nothing to say."""

    def started(self, node: Node) -> None:
        """Nothing to say."""

    waiting = found = started


def raw(tokens: int, strategies: Sequence[str], seeds: int) -> dict[str, Any]:
    """The experiment as plain data."""
    return {
        "name": "amortisation",
        "scenario": "domains",
        "model": {"name": "llama-tiny", "vocabulary": 512},
        "tokens": tokens,
        "seeds": list(range(seeds)),
        "strategies": dict.fromkeys(strategies),
        "train": {"lr": 3e-3, "sequence": 64, "batch": 8, "precision": "fp32", "compile": False, "device": "cpu"},
        "evaluation": {"tokens": 4096, "batch": 8, "points": 0},
        "tracking": {"uri": "none"},
    }


def each_run(whole: dict[str, Any]) -> list[dict[str, Any]]:
    """An experiment for each strategy and seed."""
    return [
        whole | {"strategies": {label: None}, "seeds": [seed]}
        for label in whole["strategies"]
        for seed in whole["seeds"]
    ]


def drawn_trials(whole: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """The experiments of a random search, as `cl tune` makes them."""
    lr = {"value": 3e-3, "choices": [1e-3, 3e-3]}
    share = {"replay": {"share": {"value": 0.05, "low": 0.01, "high": 0.5}}}
    searched = whole | {"train": whole["train"] | {"lr": lr}, "strategy": share, "tune": {"protocol": "oracle"}}
    plain, ranges = search_ranges.extract(searched)
    (study,) = studies.plan(plain, ranges)[1]
    drawn = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = []
    for _ in range(count):
        trial = drawn.ask()
        found.append(study.experiment({key: each.suggest(trial) for key, each in study.space.items()}))
    return found


def prepare(whole: dict[str, Any], folder: Path) -> None:
    """Tokenizer and data."""
    planned = planner.build(loading.parse(whole))
    store = Store(str(folder))
    runner.run(runner.pending(planned.data.values(), store), store, Count())


def execute(asked: Sequence[dict[str, Any]], data: Path) -> tuple[int, int, dict[bool, int], dict[bool, float]]:
    """Run experiments one after another, each with the shared store and with one of its own, in turns.

    Returns train nodes asked for and distinct ones, executed ones and seconds; True: with the shared store.
    """
    counts, keys, wanted = {True: Count(), False: Count()}, set[str](), 0
    seconds = {True: 0.0, False: 0.0}
    with tempfile.TemporaryDirectory() as folder:
        for place, each in enumerate(asked):
            for shared in (True, False) if place % 2 else (False, True):
                own = Path(folder) / ("shared" if shared else str(place))
                if not own.exists():
                    shutil.copytree(data, own)
                started = time.monotonic()
                planned = planner.build(loading.parse(each))
                store = Store(str(own))
                nodes = [n for run in planned.runs for n in (*(s.node for s in run.stages), *run.rows.values())]
                runner.run(runner.pending(nodes, store), store, counts[shared])
                seconds[shared] += time.monotonic() - started
            wanted += planned.asked
            keys |= {node.key for node in nodes if node.kind == "train"}
    return wanted, len(keys), {shared: count.executed for shared, count in counts.items()}, seconds


def main(seeds: int = 3, trials: int = 20, tokens: int = 8192) -> None:
    """Print the table."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    comparison = each_run(raw(tokens, STRATEGIES, seeds))
    study = drawn_trials(raw(tokens, ["rewarm_replay"], 1), trials)
    print(f"{'':40} {'asked for':>9} {'minimum':>8} {'executed':>9} {'seconds':>8}")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        with quiet():
            prepare(raw(tokens, STRATEGIES, seeds), data)
        for name, asked in ((f"6 strategies x {seeds} seeds", comparison), (f"study of {trials} trials", study)):
            with quiet():
                wanted, least, executed, seconds = execute(asked, data)
            for shared in (True, False):
                label = f"{name}, {'one store' if shared else 'a store each'}"
                print(f"{label:40} {wanted:9} {least:8} {executed[shared]:9} {seconds[shared]:8.0f}", flush=True)
            print(f"{'':40} {seconds[False] / seconds[True]:.2f} x the time without sharing", flush=True)


if __name__ == "__main__":
    auto_cli(main)
