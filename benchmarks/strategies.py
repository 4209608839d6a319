"""Cost of each strategy relative to sequential LoRA: step time and peak memory of the second task.

    python benchmarks/strategies.py [--model=smollm2-135m-instruct] [--steps=12] [--arms=[reglora,lora_ewc]]

Every arm trains the second of three instruction tasks (`instructions_small`) from the state after the first.

* Time: groups of arms train in one process, one step of each in turn, with sequential LoRA in every group. A ratio is
  the median over steps of an arm's time for a step divided by sequential LoRA's time for the step with the same number,
  so drift of the machine cancels. Loading, consolidation and the first steps (WARM_UP) are not counted; in-task
  evaluation is off.
* Memory: the largest resident set of a separate process per arm, loading included.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import turns  # type: ignore[import-not-found]  # in the folder of this file
from jsonargparse import auto_cli

if Path(sys.path[0]) == Path(__file__).parent:  # `strategies` below is the package, not the benchmark here
    sys.path.pop(0)

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
    "lora_lwf": "a forward pass, and the teacher's logits of learned tokens",
    "moe_lora": "a router per module, gates on the rank",
    "prompt_tuning": "longer input, no adapters",
    "osf": "full weights in factors, projected gradients",
    "seq_star": "no backward pass through the model",
}


def node_of(model: str, strategy: str, steps: int, store: str) -> Any:
    """The train node of the second task with `steps` steps."""
    from cl.config.loading import parse
    from cl.graph import planner

    named = {"from": "benchmarks/extra_forward.yaml"} if strategy == "extra_forward" else {}
    planned = planner.build(
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


def main(
    model: str = "smollm2-135m-instruct",
    steps: int = 12,
    arms: list[str] | None = None,
    store: str = "",
    memory: str = "",
) -> None:
    """Print a table; with `store` or `memory`, measure one part in this process and print JSON.

    Args:
        model: name of the model.
        steps: steps per arm.
        arms: strategies to measure; by default all of IMPLIED.
        store: folder of the store; set by the script for its own processes.
        memory: arm whose memory is measured; set by the script for its own processes.
    """
    title, options = f"{model}, second task, batch 8", [__file__, f"--model={model}"]
    turns.run(partial(node_of, model), IMPLIED, title, options, steps=steps, arms=arms, store=store, memory=memory)


if __name__ == "__main__":
    auto_cli(main)
