"""Learned tokens per second of examples in packed rows, relative to one example a row.

    python benchmarks/packing.py [--model=llama-5m] [--stream=shipped] [--batch=32] [--steps=12]

All arms train on the same examples in each step, so the ratio of learned tokens per second is one divided by the ratio
of step times. `shipped` is the second task of `instructions_small`; `uneven` is generated, with questions of 4 to 250
words, in equal numbers for each doubling. See `turns.py` for the timing.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import turns  # type: ignore[import-not-found]  # in the folder of this file
from jsonargparse import auto_cli

if Path(sys.path[0]) == Path(__file__).parent:  # `strategies` below is the package, not the benchmark here
    sys.path.pop(0)

ARMS: dict[str, dict[str, Any]] = {
    "rows": {"compile": False},
    "packed": {"compile": False, "packing": True, "attention": "sdpa"},
    "packed_varlen": {"compile": False, "packing": True, "attention": "varlen"},
    "packed_compiled": {"compile": True, "packing": True, "attention": "sdpa"},
}
IMPLIED = {
    "rows": "1: an example a row, padded to the longest of the step",
    "packed": "less padding; products of whole rows in attention",
    "packed_varlen": "no padding; products inside examples in attention: the default of packing on a CPU",
    "packed_compiled": "as packed, compiled",
}
WORDS = 4, 256


def uneven(folder: Path) -> Path:
    """A scenario whose questions have from 4 to 250 words, log-uniformly."""
    draw, low_high = Random(0), WORDS
    lines = []
    for number in range(2000):
        count = int(low_high[0] * (low_high[1] / low_high[0]) ** draw.random())
        words = [draw.choice(("red", "green", "blue", "warm", "cold", "left", "right")) for _ in range(count)]
        lines.append({"question": f"{number}: {' '.join(words)}. Which word came last?", "answer": words[-1]})
    folder.mkdir(exist_ok=True)
    (folder / "uneven.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    source = "{kind: instruction, sources: [{source: examples, path: uneven.jsonl}]}"
    text = (
        f"summary: uneven questions\nversion: 1\ntasks: {{uneven: {source}}}\nsplit: {{validation: 0.05, test: 0.05}}\n"
    )
    (folder / "uneven.yaml").write_text(text)
    return folder / "uneven.yaml"


def node_of(model: str, stream: str, batch: int, sequence: int, arm: str, steps: int, store: str) -> Any:
    """The train node of an arm with `steps` steps."""
    from cl.config.loading import parse
    from cl.graph import planner

    shipped = stream == "shipped"
    scenario = "instructions_small" if shipped else str(uneven(Path(store)))
    examples = {"sums": batch, "syllogisms": batch * steps, "nouns": batch} if shipped else {"uneven": batch * steps}
    fresh = model.startswith(("llama", "neox"))
    planned = planner.build(
        parse(
            {
                "name": "cost",
                "scenario": scenario,
                "model": {"name": model} | ({"vocabulary": 2048} if fresh else {}),
                "examples": examples,
                "strategies": {"constant" if fresh else "lora_sequential": {}},
                "store": store,
                "train": {"batch": batch, "sequence": sequence, "lr": 1e-4, "precision": "fp32", **ARMS[arm]},
                "evaluation": {"points": 0},
            }
        )
    )
    return planned.runs[0].stages[1 if shipped else 0].node


def main(
    model: str = "llama-5m",
    stream: str = "shipped",
    batch: int = 32,
    sequence: int = 320,
    steps: int = 12,
    arms: list[str] | None = None,
    store: str = "",
    memory: str = "",
) -> None:
    """Print a table; with `store` or `memory`, measure one part in this process and print JSON.

    Args:
        model: name of the model.
        stream: `shipped` or `uneven`.
        batch: examples per step.
        sequence: tokens per packed row.
        steps: steps per arm.
        arms: arms to measure; by default all.
        store: folder of the store; set by the script for its own processes.
        memory: arm whose memory is measured; set by the script for its own processes.
    """
    title, options = f"{model}, {stream} stream, {batch} examples a step, rows of {sequence}", [__file__]
    options += [f"--model={model}", f"--stream={stream}", f"--batch={batch}", f"--sequence={sequence}"]
    node = partial(node_of, model, stream, batch, sequence)
    turns.run(node, IMPLIED, title, options, steps=steps, arms=arms, store=store, memory=memory)


if __name__ == "__main__":
    auto_cli(main)
