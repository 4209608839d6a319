"""Speed of matrix products and of encoding on this machine: measured once, then read from the user's cache.

Planning needs a speed before anything was trained; importing torch for it takes longer than planning.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from cl.execution import machine
from cl.graph.specs import Compute
from cl.hashing import digest
from cl.models import precision

SIDE = 768  # rows and columns of the matrices
SECONDS = 0.3  # length of the measurement
LETTERS = "etaoinshrdlucmfwypvbgkqjxz"  # of made-up words, the frequent ones first
WORDS, TEXTS, LENGTH = 20_000, 1000, 330  # different words, texts to encode, words of a text: 2 MB
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
    return _once("flops", known, lambda: _measured(device, compute.precision))


def encoding() -> float:
    """Bytes of text per second that a byte-level BPE encodes, by all processors."""
    known = [machine.processor(), str(os.cpu_count()), "encoding", importlib.metadata.version("tokenizers")]
    return _once("bytes", known, _encoded)


def _once(name: str, known: Sequence[str], measure: Callable[[], float]) -> float:
    """A figure of this machine: measured at first, then read."""
    file = machine.cache_folder() / "calibration" / f"{digest(known)}.json"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps({name: measure(), "of": known}), encoding="utf-8")
        new.replace(file)
    return float(json.loads(file.read_text(encoding="utf-8"))[name])


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


def _encoded() -> float:
    """Train a tokenizer on made-up words, encode more of them, and return bytes per second."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    from cl.data.encoding import by_all_cores

    draw = random.Random(0)
    weights = range(len(LETTERS), 0, -1)
    words = ["".join(draw.choices(LETTERS, weights, k=draw.randint(2, 9))) for _ in range(WORDS)]
    texts = [" ".join(words[int(WORDS * draw.random() ** 3)] for _ in range(LENGTH)) for _ in range(TEXTS)]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.train_from_iterator(texts[: TEXTS // 10], trainers.BpeTrainer(vocab_size=4096, show_progress=False))
    started = time.monotonic()
    by_all_cores(bpe, texts)
    return sum(map(len, texts)) / (time.monotonic() - started)
