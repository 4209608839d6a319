"""Cost of a teacher relative to plain continual pre-training: step time and peak memory of each kind.

    python benchmarks/teachers.py [--model=smollm2-135m-instruct] [--sequence=1024] [--batch=1] [--steps=8]

All parameters are trained on packed text; with `--adapters=true` all arms train LoRA and are compared with LoRA. See
`turns.py` for the timing. The pass that fills a cache is not part of a step, because every later trial finds the cache.
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

IMPLIED = {
    "rewarm": "1",
    "frozen_copy": "1.33: a forward pass, and the teacher's logits; 1.5 under adapters",
    "cache_hidden": "the teacher's logits alone",
    "cache_sampled": "two gathers a token",
    "cache_top_k": "two gathers a token",
}
LIVE = {"adapter_off": "as frozen_copy, without a second model"}


def node_of(
    model: str, sequence: int, batch: int, precision: str, adapters: bool, arm: str, steps: int, store: str
) -> Any:
    """The train node of an arm with `steps` steps."""
    from cl.config.loading import parse
    from cl.graph import planner

    taught = "self_distilled_lora" if adapters else "self_distilled"
    named = {} if arm == "rewarm" else {"from": taught, "self_distillation": {"mode": arm}}
    if arm == "rewarm" and adapters:
        named = {"from": "lora_sequential"}
    planned = planner.build(
        parse(
            {
                "name": "cost",
                "scenario": "medicine_mixture",
                "model": {"name": model} | ({"vocabulary": 4096} if model.startswith(("llama", "neox")) else {}),
                "tokens": batch * sequence * steps,
                "strategies": {arm: named},
                "store": store,
                "train": {"batch": batch, "sequence": sequence, "lr": 1e-4, "precision": precision, "compile": False},
                "evaluation": {"points": 0},
            }
        )
    )
    return planned.runs[0].stages[0].node


def main(
    model: str = "smollm2-135m-instruct",
    sequence: int = 1024,
    batch: int = 1,
    precision: str = "fp32",
    adapters: bool = False,
    steps: int = 8,
    arms: list[str] | None = None,
    store: str = "",
    memory: str = "",
) -> None:
    """Print a table; with `store` or `memory`, measure one part in this process and print JSON.

    Args:
        model: name of the model.
        sequence: tokens per row.
        batch: rows per step.
        precision: `fp32` or `bf16`.
        adapters: train LoRA instead of all parameters.
        steps: steps per arm.
        arms: kinds of teacher to measure; by default all.
        store: folder of the store; set by the script for its own processes.
        memory: arm whose memory is measured; set by the script for its own processes.
    """
    title = f"{model}, {'LoRA' if adapters else 'all parameters'}, batch {batch} x {sequence}, {precision}"
    options = [__file__, f"--model={model}", f"--sequence={sequence}", f"--precision={precision}"]
    options += [f"--batch={batch}", f"--adapters={str(adapters).lower()}"]
    node = partial(node_of, model, sequence, batch, precision, adapters)
    implied = IMPLIED | (LIVE if adapters else {})
    turns.run(node, implied, title, options, steps=steps, arms=arms, store=store, memory=memory)


if __name__ == "__main__":
    auto_cli(main)
