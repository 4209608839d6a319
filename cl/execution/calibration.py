"""Speed of matrix products on this machine: measured once with torch, then read from the user's cache.

Planning needs a speed before anything was trained; importing torch for it takes longer than planning.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import time
from dataclasses import replace

from cl.execution import machine
from cl.graph.specs import Compute
from cl.hashing import digest
from cl.models import precision

SIDE = 768  # rows and columns of the matrices
SECONDS = 0.3  # length of the measurement
MUCH_SLOWER = 1.25  # from here on bf16 is told to be slower


def rate(compute: Compute) -> float:
    """Floating-point operations per second of a matrix product.

    For a GPU on a machine without one, the rate of the processor is returned, as a lower bound.

    Args:
        compute: device and precision.
    """
    device = compute.device if compute.device == "cpu" or precision.has_cuda() else "cpu"
    threads = os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count())
    known = [machine.processor(), threads, device, compute.precision, importlib.metadata.version("torch")]
    file = machine.cache_folder() / "calibration" / f"{digest(known)}.json"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps({"flops": _measured(device, compute.precision), "of": known}), encoding="utf-8")
        new.replace(file)
    return float(json.loads(file.read_text(encoding="utf-8"))["flops"])


def emulated(compute: Compute) -> float | None:
    """How many times slower a processor multiplies in bf16 than in fp32. None: it does not, or bf16 is not used.

    Args:
        compute: device and precision.
    """
    if (compute.device, compute.precision) != ("cpu", "bf16"):
        return None
    factor = rate(replace(compute, precision="fp32")) / rate(compute)
    return factor if factor > MUCH_SLOWER else None


def _measured(device: str, kind: str) -> float:
    """Multiply matrices for SECONDS and return floating-point operations per second."""
    import torch

    left = torch.randn(SIDE, SIDE, device=device).to(torch.bfloat16 if kind == "bf16" else torch.float32)
    started, count = time.monotonic(), 0
    while time.monotonic() - started < SECONDS:
        left @ left
        count += 1
    if device == "cuda":
        torch.cuda.synchronize()
    return count * 2 * SIDE**3 / (time.monotonic() - started)
