"""Time and memory of the cross-entropy at a large vocabulary: whole logits against chunks.

    python benchmarks/cross_entropy.py [--tokens=1024] [--width=576] [--vocabulary=49152] [--rounds=3]

Forward and backward pass of the output layer with its loss in fp32, each arm in its own process, alternating. Memory is
the growth of the largest resident set during the passes, without the inputs.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time

from jsonargparse import auto_cli

ARMS = {"whole": "logits of all tokens at once (PyTorch)", "chunked": "logits in chunks (cl.models.losses.fused)"}


def measure(arm: str, tokens: int, width: int, vocabulary: int) -> dict[str, float]:
    """Median seconds of three passes after one warm-up pass, and the growth of peak memory in MB."""
    import torch

    from cl.models import losses

    hidden = torch.randn(tokens, width, requires_grad=True)
    weight = torch.nn.Parameter(torch.randn(vocabulary, width) * 0.02)
    weight.grad, hidden.grad = torch.zeros_like(weight), torch.zeros_like(hidden)
    targets = torch.randint(0, vocabulary, (tokens,))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(4):
        started = time.perf_counter()
        if arm == "whole":
            losses.nll(hidden @ weight.T, targets).backward()
        else:
            losses.fused(losses.Outputs(hidden, weight, targets), [])[0].backward()
        seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": statistics.median(seconds[1:]), "mb": (peak - before) / 1024}


def main(tokens: int = 1024, width: int = 576, vocabulary: int = 49152, rounds: int = 3, arm: str = "") -> None:
    """Print a table of both arms.

    Args:
        tokens: number of tokens.
        width: width of the hidden states.
        vocabulary: number of output classes.
        rounds: measurements per arm.
        arm: measure only this arm, in this process, and print JSON.
    """
    if arm:
        print(json.dumps(measure(arm, tokens, width, vocabulary)))
        return
    shape = [f"--tokens={tokens}", f"--width={width}", f"--vocabulary={vocabulary}"]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ARMS}
    for _ in range(rounds):
        for name in ARMS:
            call = [sys.executable, __file__, f"--arm={name}", *shape]
            found[name].append(json.loads(subprocess.run(call, capture_output=True, text=True, check=True).stdout))
    print(f"{tokens} tokens, width {width}, vocabulary {vocabulary}, {rounds} rounds")
    print(f"{'arm':44} {'s':>7} {'x whole':>8} {'peak MB':>8}")
    for name, runs in found.items():
        ratio = statistics.median(r["seconds"] / w["seconds"] for r, w in zip(runs, found["whole"], strict=True))
        seconds, peak = (statistics.median(r[key] for r in runs) for key in ("seconds", "mb"))
        print(f"{ARMS[name]:44} {seconds:7.3f} {ratio:8.2f} {peak:8,.0f}")


if __name__ == "__main__":
    auto_cli(main)
