"""Cost of keeping the documents of a row apart: step time and peak memory of each kernel of attention.

    python benchmarks/attention.py [--model=llama-5m] [--sequences=[256,1024,4096]] [--tokens=4096] [--steps=8]

All arms train English of `english_german` from the same state, with as many rows per step as make `tokens`; `none` does
not keep documents apart. See `turns.py` for the timing. On a GPU: `--arms=[flex,flash,none] --device=cuda`.
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
    "sdpa": "1: a dense mask, T x T products",
    "varlen": "T x L products, L tokens a document",
    "none": "half of T x T products, no mask",
}
GPU = {"flex": "blocks of T x L products", "flash": "T x L products"}


def node_of(
    model: str, sequence: int, tokens: int, device: str, compiled: bool, arm: str, steps: int, store: str
) -> Any:
    """The train node of an arm with `steps` steps."""
    from cl.config.loading import parse
    from cl.graph import planner

    attention = {"boundaries": False} if arm == "none" else {"attention": arm}
    precision = "bf16" if device == "cuda" else "fp32"
    train = {"batch": max(1, tokens // sequence), "sequence": sequence, "lr": 1e-4, "compile": compiled}
    planned = planner.build(
        parse(
            {
                "name": "cost",
                "scenario": "english_german",
                "model": {"name": model} | ({"vocabulary": 4096} if model.startswith(("llama", "neox")) else {}),
                "tokens": max(tokens, sequence) * steps,
                "strategies": {"constant": {}},
                "store": store,
                "train": {**train, "device": device, "precision": precision, **attention},
                "evaluation": {"points": 0},
            }
        )
    )
    return planned.runs[0].stages[0].node


def main(
    model: str = "llama-5m",
    sequences: list[int] | None = None,
    tokens: int = 4096,
    device: str = "cpu",
    compile: bool = False,  # the setting's name
    steps: int = 8,
    arms: list[str] | None = None,
    store: str = "",
    memory: str = "",
) -> None:
    """Print a table per sequence; with `store` or `memory`, measure one part in this process and print JSON.

    Args:
        model: name of the model.
        sequences: tokens per row; by default 256, 1024 and 4096.
        tokens: tokens per step, at least one row.
        device: `cpu` or `cuda`.
        compile: compile the model.
        steps: steps per arm.
        arms: kernels to measure; by default those of IMPLIED.
        store: folder of the store; set by the script for its own processes.
        memory: arm whose memory is measured; set by the script for its own processes.
    """
    for sequence in sequences or [256, 1024, 4096]:
        title = f"{model}, {max(1, tokens // sequence)} x {sequence}, {'compiled' if compile else 'eager'}"
        options = [__file__, f"--model={model}", f"--sequences=[{sequence}]", f"--tokens={tokens}"]
        options += [f"--device={device}", f"--compile={str(compile).lower()}"]
        node = partial(node_of, model, sequence, tokens, device, compile)
        asked = arms if arms is not None else list(IMPLIED)
        implied = {name: text for name, text in (IMPLIED | GPU).items() if name == "sdpa" or name in asked}
        turns.run(node, implied, title, options, steps=steps, arms=asked, store=store, memory=memory)


if __name__ == "__main__":
    auto_cli(main)
