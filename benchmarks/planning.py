"""Cost of planning an experiment with 20 tasks x 20 strategies x 3 seeds x 4 orders.

`python benchmarks/planning.py` prints the number of nodes, the memory, and the seconds of each step of `cl plan` in a
fresh process: imports, building the graph, computing the keys, finding missing nodes in an empty store, estimating the
cost, printing the plan.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
if Path(sys.path[0]) == Path(__file__).parent:  # as in the other benchmarks
    sys.path[0] = str(ROOT)

TASKS, SEEDS = 20, 3
WORDS = ("north", "wind", "sun", "cloak", "traveller", "strong", "road", "warm", "fold", "blow", "shine", "agree")
STRATEGIES = """
finetune: , rewarm: , rewarm_keep: , finetune_keep: , constant_low: , ewc: , lora_sequential: , lora_incremental: ,
lora_merged: , o_lora: , reglora: , lora_ewc: , rewarm_replay: , rewarm_replay_25: , lora_replay: , wsd: ,
r10: {from: rewarm_replay, replay: {share: 0.1}}, r50: {from: rewarm_replay, replay: {share: 0.5}},
e10: {from: ewc, ewc: {weight: 10.0}}, e50: {from: ewc, ewc: {weight: 50.0}}
"""


def write(folder: Path) -> Path:
    """Write a scenario of 20 small tasks and its experiment, and return the experiment's file."""
    tasks, orders = [], []
    for task in range(TASKS):
        text = "\n\n".join(" ".join(f"{word}{task}x{line}" for word in WORDS) for line in range(60))
        (folder / f"task{task}.txt").write_text(text, encoding="utf-8")
        tasks.append(f"  t{task:02}: {{sources: [{{source: files, path: task{task}.txt}}]}}")
    names = [f"t{task:02}" for task in range(TASKS)]
    for order in range(4):
        orders.append(f"  o{order}: [{', '.join(names[5 * order :] + names[: 5 * order])}]")
    head = "summary: twenty small tasks\nversion: 1\n"
    scenario = folder / "twenty.yaml"
    content = [head + "tasks:", *tasks, "orders:", *orders]
    scenario.write_text("\n".join(content) + "\n", encoding="utf-8")
    experiment = folder / "planning.yaml"
    lines = [
        f"scenario: {scenario}",
        "model: {name: llama-tiny, vocabulary: 300}",
        "tokens: 4096",
        f"strategies: {{{' '.join(STRATEGIES.split())}}}",
        f"seeds: {list(range(SEEDS))}",
        "orders: [o0, o1, o2, o3]",
        "train: {sequence: 32, batch: 4}",
        f"store: {folder / 'store'}",
    ]
    experiment.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return experiment


def measure(experiment: str) -> dict[str, float]:
    """Plan an experiment in this process.

    Args:
        experiment: path of the experiment's file.

    Returns:
        Seconds by step, number of nodes, memory in MB, number of imported heavy libraries.
    """
    started = time.perf_counter()
    from cl.commands import shared
    from cl.execution import cost_estimate, runner
    from cl.execution.store import Store
    from cl.reporting import terminal

    found = {"imports": time.perf_counter() - started}

    def lap(name: str) -> None:
        found[name] = time.perf_counter() - started - sum(found.values())

    graph = shared.build_graph(experiment, [])
    lap("build")
    nodes = graph.nodes
    lap("keys")
    store = Store(graph.experiment.store)
    todo = runner.pending(graph.wanted, store)
    lap("pending")
    cost = cost_estimate.estimate(graph, todo, store)
    lap("estimate")
    terminal.show_plan(shared.console, graph, store, todo, cost)
    lap("table")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    heavy = sum(name in sys.modules for name in ("torch", "transformers", "peft", "mlflow", "optuna"))
    return found | {"nodes": len(nodes), "megabytes": memory, "heavy libraries": heavy}


def main() -> None:
    """Measure twice in fresh processes, the first of which fills the caches, and print the second measurement."""
    with tempfile.TemporaryDirectory() as folder:
        experiment = write(Path(folder))
        for _ in range(2):
            call = [sys.executable, __file__, str(experiment)]
            done = subprocess.run(call, capture_output=True, text=True, check=True, cwd=ROOT)
    *plan, last = done.stdout.splitlines()
    found = json.loads(last)
    print("\n".join(plan[-6:]))
    nodes = found.pop("nodes")
    steps = {name: found[name] for name in ("build", "keys", "pending", "estimate", "table")}
    laps = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in steps.items())
    print(f"{nodes:.0f} nodes; imports {found['imports']:.2f} s; {laps}")
    print(f"{1000 * sum(steps.values()) / nodes:.2f} ms per node; {found['megabytes']:.0f} MB; "
          f"{found['heavy libraries']:.0f} heavy libraries imported")  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
    else:
        main()
