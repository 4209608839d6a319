"""Memory and time of a training step by `model.weights`, with LoRA and in full.

`python benchmarks/weights.py [MODEL]` loads a packaged model (smollm2-135m-instruct by default) in a process for each
form, keeps its weights in the form, and trains five steps of one row of 256 tokens in fp32. It prints what the process
holds at its peak in these steps, beyond what it held before the model was loaded, and the ratio of the median step's
time to fp32. The peak of loading, in fp32, is left out. Linux only: the peak is reset through /proc.
"""

from __future__ import annotations

import ctypes
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
if Path(sys.path[0]) == Path(__file__).parent:  # as in the other benchmarks
    sys.path[0] = str(ROOT)

MODEL, TOKENS, STEPS = "smollm2-135m-instruct", 256, 5
ARMS = (("lora", "fp32"), ("lora", "bf16"), ("lora", "8bit"), ("lora", "4bit"), ("full", "fp32"), ("full", "bf16"))


def _memory(name: str) -> float:
    """VmRSS or VmHWM of this process in MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def measure(name: str, training: str, form: Any) -> None:
    """Train with one form and print the figures as JSON."""
    import torch

    from cl.config.model import Model
    from cl.config.train import Train
    from cl.models import pretrained, quantized
    from cl.training.optimizer import build_optimizer
    from strategies.adapters.lora import Lora

    def prepared(found: Any) -> Any:
        if form != "fp32":
            quantized.round_(found, form)
        model = Lora().prepare(found, 1) if training == "lora" else found
        if form == "bf16":
            quantized.train_in_bf16(model)
        if form != "fp32":
            quantized.hold(model, form)
        return model

    import peft  # noqa: F401  # before the memory is read: a part of the process, not of the model

    before = _memory("VmRSS")
    model = prepared(pretrained.create(Model(name=name), 0, 0, None, TOKENS))
    model.train()
    optimizer = build_optimizer(model, Train())
    ids = torch.randint(0, 1000, (1, TOKENS))
    ctypes.CDLL(None).malloc_trim(0)  # what loading has freed
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    seconds = []
    for _ in range(STEPS):
        began = time.perf_counter()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - began)
    print(json.dumps({"megabytes": _memory("VmHWM") - before, "seconds": statistics.median(seconds)}))


def main(name: str) -> None:
    """Print a line per training and form."""
    print("training | weights | peak of a step, MB | time of a step / fp32")
    whole: dict[str, float] = {}
    for training, form in ARMS:
        child = [sys.executable, __file__, f"--measure={name},{training},{form}"]
        done = subprocess.run(
            child, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
        found = json.loads(done.stdout.splitlines()[-1])
        whole.setdefault(training, found["seconds"])
        ratio = found["seconds"] / whole[training]
        print(f"{training} | {form} | {found['megabytes']:,.0f} | {ratio:.2f}", flush=True)


if __name__ == "__main__":
    asked = [argument.removeprefix("--measure=") for argument in sys.argv[1:] if argument.startswith("--measure=")]
    measure(*asked[0].split(",")) if asked else main(*(sys.argv[1:] or [MODEL]))
