"""Time saved by the store: a comparison of six strategies and a study of twenty trials, with and without sharing.

    python benchmarks/amortisation.py [--seeds=3] [--trials=20] [--tokens=8192]

The comparison is five domains and six strategies x seeds; the study is a random search over a learning rate and a share
of replay. Each runs with one store for all runs, and with a separate store per run or trial, in turns. A separate store
starts with tokenizer and data, because nobody would prepare those again for each run. Printed are train nodes asked
for, the theoretical minimum (distinct keys), nodes executed, and seconds. The model is llama-tiny, so the fixed cost of
a node weighs more than with larger models.
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

if Path(sys.path[0]) == Path(__file__).parent:  # `strategies` below is the package, not the benchmark here
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
    """A listener that counts the executed train nodes."""

    def __init__(self) -> None:
        self.executed = 0

    def finished(self, node: Node, seconds: float) -> None:
        """Count a train node."""
        self.executed += node.kind == "train"

    def progress(self, node: Node, done: int, total: int) -> None:
        """Do nothing."""

    def point(self, node: Node, point: Point) -> None:
        """Do nothing."""

    def started(self, node: Node) -> None:
        """Do nothing."""

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
    """One experiment per strategy and seed."""
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
    """Compute tokenizer and data into the store at `folder`."""
    planned = planner.build(loading.parse(whole))
    store = Store(str(folder))
    runner.run(runner.pending(planned.data.values(), store), store, Count())


def execute(asked: Sequence[dict[str, Any]], data: Path) -> tuple[int, int, dict[bool, int], dict[bool, float]]:
    """Run experiments one after another, each with the shared store and with a store of its own, in turns.

    Args:
        asked: the experiments as plain data.
        data: a store with tokenizer and data, copied for each new store.

    Returns:
        Train nodes asked for, distinct train nodes, executed train nodes and seconds; the last two by True (shared
            store) and False (separate stores).
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
    """Print the table.

    Args:
        seeds: seeds per strategy of the comparison.
        trials: trials of the study.
        tokens: training tokens per task.
    """
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
