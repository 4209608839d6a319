"""Training on one GPU: tokens/s, share of the peak, memory; and whether every strategy runs there. At most six minutes.

    python benchmarks/gpu.py [--shapes=[135m,360m,1.1b]] [--limit=360] [--device=cuda]

1. Llama shapes with random weights, rows of 2,048 tokens, bf16, compiled: a plain PyTorch loop, our train node at equal
   settings, and the second task of full training, LoRA, RegLoRA, EWC and replay. The median step after WARM_UP counts.
2. Every strategy learns two tasks of two steps; R of plain training is compared with the CPU's.

MFU is tokens/s times the operations of a token, 6 N + 12 layers x width x sequence (arXiv 2204.02311, appendix B; N
without embeddings), over the device's dense bf16 peak; it is given where all weights are trained. Where the peak is not
listed, it is that of a measured product of matrices, and said to be. Published with one H100, for comparison: nanochat
d12 41 %, d24 50 %; llm.c 124 M 41 %.

Lines are printed as they are measured; no arm starts after `limit` seconds, and what was left out is said. The shape
`tiny` and `--device=cpu` try the script where there is no GPU: its figures mean nothing.
"""

from __future__ import annotations

import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import devices as strategies_on  # type: ignore[import-not-found]  # in the folder of this file
import turns  # type: ignore[import-not-found]  # in the folder of this file
from jsonargparse import auto_cli

if Path(sys.path[0]) == Path(__file__).parent:  # `strategies` below is the package, not the benchmark here
    sys.path.pop(0)

WARM_UP = 4  # steps that allocate memory and compile
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}
"""Dense bf16 operations a second, by a part of the device's name."""


class Shape(NamedTuple):
    """A Llama: layers, width, heads, heads of keys, width of the MLP, rows of a step, rows of a micro-batch, tokens."""

    layers: int
    width: int
    heads: int
    keys: int
    inner: int
    batch: int
    micro: int
    sequence: int = 2048


SHAPES = {
    "135m": Shape(30, 576, 9, 3, 1536, 32, 16),
    "360m": Shape(32, 960, 15, 5, 2560, 32, 8),
    "1.1b": Shape(22, 2048, 32, 4, 5632, 16, 4),
    "tiny": Shape(2, 32, 2, 1, 64, 4, 2, sequence=32),
}
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "train node, equal settings": ("finetune", {"boundaries": False}),
    "full training": ("finetune", {}),
    "replay": ("rewarm_replay", {}),
    "EWC": ("ewc", {}),
    "LoRA": ("lora_sequential", {}),
    "RegLoRA": ("reglora", {}),
}
FULL = ("plain loop", "train node, equal settings", "full training", "replay", "EWC")


class Steps(turns.Silent):  # type: ignore[misc]
    """A listener that notes when a node's steps end."""

    def __init__(self) -> None:
        self.times: dict[Any, list[float]] = {}

    def progress(self, node: Any, done: int, total: int) -> None:
        """Note the time."""
        self.times.setdefault(node, []).append(time.monotonic())


def operations(shape: Shape) -> float:
    """Operations of training on a token."""
    attention = shape.width * shape.width * (2 + 2 * shape.keys / shape.heads)
    weights = shape.layers * (attention + 3 * shape.width * shape.inner)
    return 6 * weights + 12 * shape.layers * shape.width * shape.sequence


def peak(device: str) -> tuple[float, str]:
    """Operations a second of the device in bf16, and where the figure is from."""
    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else "this processor"
    known = next((value for part, value in PEAKS.items() if part in name), None)
    if known is not None:
        return known, f"peak of {name} as listed"
    size = 8192 if device == "cuda" else 512
    one = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        (one @ one)[0, 0].item()  # waits for the device
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds), f"a measured product on {name}"


def write_model(folder: Path, shape: Shape) -> None:
    """A directory with a Llama of random weights and the tokenizer of the packaged model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from cl.config.model import Model
    from cl.models import pretrained

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49_152, hidden_size=shape.width, intermediate_size=shape.inner, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.keys, max_position_embeddings=shape.sequence,
        tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    pretrained.load_tokenizer(Model(name="smollm2-135m-instruct")).save_pretrained(folder)


def write_scenario(folder: Path, tokens: int) -> Path:
    """Two tasks of made-up words with so many tokens each, at least."""
    draw = random.Random(0)
    for name in ("first", "second"):
        words = ["".join(draw.choices("etaoinshrdlu", k=draw.randint(2, 7))) for _ in range(5_000)]
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for _ in range(tokens // 300 + 400):
                file.write(json.dumps({"text": " ".join(draw.choices(words, k=400))}) + "\n")
    path = folder / "text.yaml"
    tasks = "".join(
        f"  {name}:\n    sources: [{{source: files, path: {folder / name}.jsonl, column: text}}]\n"
        for name in ("first", "second")
    )
    path.write_text(f"summary: made-up words\nversion: 1\ntasks:\n{tasks}split: {{validation: 0.02, test: 0.02}}\n")
    return path


def planned(folder: Path, shape: Shape, arm: str, device: str, steps: int) -> Any:
    """The graph of an arm."""
    from cl.config.loading import parse
    from cl.graph import planner

    strategy, settings = ARMS[arm]
    return planner.build(
        parse(
            {
                "name": "gpu",
                "scenario": str(folder / "text.yaml"),
                "model": {"name": str(folder / "model")},
                "tokens": shape.batch * shape.sequence * steps,
                "strategies": {strategy: None},
                "store": str(folder / "store"),
                "train": {
                    "batch": shape.batch, "micro_batch": shape.micro, "sequence": shape.sequence, "lr": 1e-4,
                    "precision": "bf16", "compile": device == "cuda", "device": device, **settings,
                },
                "evaluation": {"points": 0, "tokens": shape.sequence, "probe_tokens": shape.sequence},
            }
        )
    )  # fmt: skip


def plain(graph: Any, store: Any, device: str) -> list[float]:
    """Time after each step of an ordinary PyTorch loop, on the model and the rows of the first task."""
    import torch
    import torch.nn.functional as F

    from cl.data.rows import rows as read_rows
    from cl.models import pretrained

    train, steps = graph.experiment.train, graph.runs[0].stages[0].node.spec.steps
    model = pretrained.load(store.path(graph.base)).to(device).train()
    rows = read_rows(store.path(graph.data["first"]), "first", "train", train.sequence)
    optimizer = torch.optim.AdamW(model.parameters(), lr=train.lr, fused=True)

    def loss_of(ids: Any) -> Any:
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        return F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())

    compiled = torch.compile(loss_of) if device == "cuda" else loss_of
    times = []
    for step in range(steps):
        ids = torch.stack([rows[step * train.batch + place].ids for place in range(train.batch)]).to(device)
        for part in ids.split(train.micro_batch):
            with torch.autocast(device, torch.bfloat16):
                loss = compiled(part)
            (loss * len(part) / len(ids)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), train.clip)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # waits for the device
        times.append(time.monotonic())
    return times


def measure(folder: Path, shape: Shape, arm: str, device: str, steps: int) -> tuple[float, float]:
    """Tokens/s of the arm's last stage, and the peak of the device's memory in GB."""
    import torch

    from cl.execution import runner
    from cl.execution.store import Store

    graph = planned(folder, shape, "full training" if arm == "plain loop" else arm, device, steps)
    store, nodes = Store(graph.experiment.store), [stage.node for stage in graph.runs[0].stages]
    runner.run(runner.pending([graph.base, *graph.data.values()], store), store, turns.Silent())
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    if arm == "plain loop":
        times = plain(graph, store, device)
    else:
        listener = Steps()
        runner.run(runner.pending(nodes, store), store, listener)
        times = listener.times[nodes[-1]]
        for node in nodes:
            shutil.rmtree(store.path(node))  # weights of many arms fill a disk
    pairs = zip(times[WARM_UP:], times[WARM_UP + 1 :], strict=False)
    seconds = statistics.median(later - earlier for earlier, later in pairs)
    memory = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else float("nan")
    return shape.batch * shape.sequence / seconds, memory


def main(
    shapes: list[str] | None = None,
    arms: list[str] | None = None,
    strategies: list[str] | None = None,
    limit: float = 360.0,
    device: str = "cuda",
    steps: int = 14,
) -> None:
    """Print the tables.

    Args:
        shapes: names of shapes; by default all but tiny.
        arms: arms beside the plain loop; by default all.
        strategies: strategies of the second part; by default all.
        limit: seconds after which nothing new is begun.
        device: cuda, or cpu to try the script.
        steps: optimizer steps of a task.
    """
    began, (top, told) = time.monotonic(), peak(device)
    print(f"{told}: {top / 1e12:,.1f} TFLOP/s in bf16\n\nshape | arm | tokens/s | x plain | MFU | peak memory, GB")
    for name in shapes or [each for each in SHAPES if each != "tiny"]:
        with tempfile.TemporaryDirectory() as text:
            folder, shape, first = Path(text), SHAPES[name], None
            write_model(folder / "model", shape)
            write_scenario(folder, shape.batch * shape.sequence * steps)
            for arm in ("plain loop", *(arms or ARMS)):
                if time.monotonic() - began > limit:
                    print(f"{name} | {arm} | not begun: {limit:.0f} s are over")
                    continue
                speed, memory = measure(folder, shape, arm, device, steps)
                first = first or speed
                share = f"{speed * operations(shape) / top:.0%}" if arm in FULL else "-"
                print(f"{name} | {arm} | {speed:,.0f} | {speed / first:.2f} | {share} | {memory:.1f}", flush=True)
    print(f"\n{'strategy':22} difference of {device} from cpu, two steps a task")
    with tempfile.TemporaryDirectory() as text:
        for line in strategies_on.on_device(device, strategies, text, began + limit):
            print(line, flush=True)


if __name__ == "__main__":
    auto_cli(main)
