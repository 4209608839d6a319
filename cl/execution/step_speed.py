"""Training speed of a model on this machine, from a few steps of one and of two of its layers.

An estimate is asked for before anything was trained. Layers cost the same, so the seconds of a step are those with one
layer, and for each further layer the difference between two and one. A measurement takes some seconds, or less memory
than the model; it is made once for each machine, shape of model and shape of rows, and kept in the user's cache.
"""

from __future__ import annotations

import copy
import importlib.metadata
import json
import os
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl.execution import machine
from cl.graph.spec_json import to_json
from cl.hashing import digest
from cl.models import pretrained

if TYPE_CHECKING:
    from cl.config.model import Model
    from cl.config.train import Optimization
    from cl.graph.specs import Compute

REPEATS, ENOUGH = 3, 1.0  # timed passes after one that allocates memory, fewer once so many seconds are spent
LARGEST = 100_000_000  # parameters of embeddings: more are not made for an estimate
BUILT = ("num_hidden_layers", "vocab_size")
"""Attributes that the configuration needs."""


def tokens_per_second(model: Model, train: Optimization, compute: Compute, measure: bool) -> float | None:
    """Tokens per second of training all weights, not compiled, where it is known or can be measured.

    Args:
        model: settings of the model.
        train: settings of the rows and of the optimizer.
        compute: device and precision.
        measure: measure if nothing is known; it imports torch and transformers.

    Returns:
        The speed; None for a model on the hub, a device that is not here, a family whose layers are not alike, and
        embeddings too large to be made for an estimate.
    """
    if pretrained.origin(model.name) == "hub" or compute.device != "cpu":
        return None
    compute = replace(compute, compile=False)
    file = _file(model, train, compute)
    if not file.is_file():
        if not measure:
            return None
        speed = _measured(model, train, compute)
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps({"tokens_per_second": speed, "model": model.name}), encoding="utf-8")
        new.replace(file)
    found: float | None = json.loads(file.read_text(encoding="utf-8"))["tokens_per_second"]
    return found


def _file(model: Model, train: Optimization, compute: Compute) -> Path:
    """Where the speed is kept."""
    threads = os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count())
    known = [machine.processor(), threads, importlib.metadata.version("torch"), pretrained.fingerprint(model)]
    return (
        machine.cache_folder()
        / "steps"
        / f"{digest([*known, model.vocabulary, to_json(train), to_json(compute)])}.json"
    )


def _measured(model: Model, train: Optimization, compute: Compute) -> float | None:
    """Measure the speed; None where the layers are not alike or the embeddings too large."""
    from cl.models import backbone

    outline = pretrained.Outline(model)
    config = outline.model.config.get_text_config()
    alike = backbone.of(outline.model).isolation == "positions" and all(hasattr(config, name) for name in BUILT)
    if model.vocabulary is not None:
        config.vocab_size = model.vocabulary
    if not alike or config.vocab_size * config.hidden_size > LARGEST:
        return None
    layers = config.num_hidden_layers
    one, *more = (_seconds(config, count, train, compute) for count in range(1, min(layers, 2) + 1))
    whole = one + sum((layers - 1) * max(0.0, two - one) for two in more)
    return float(train.batch * train.sequence / whole)


def _seconds(config: Any, layers: int, train: Optimization, compute: Compute) -> float:
    """Seconds of an optimizer step of a model with so many layers."""
    import torch
    from transformers import AutoModelForCausalLM

    from cl.data.batches import Batch
    from cl.models.forward import TokenLoss, autocast
    from cl.training.optimizer import build_optimizer

    own = copy.deepcopy(config)
    own.num_hidden_layers = layers
    if getattr(own, "layer_types", None):
        own.layer_types = own.layer_types[:layers]
    with torch.random.fork_rng():
        model = AutoModelForCausalLM.from_config(own).float().train()
        micro = min(train.micro_batch or train.batch, train.batch)
        batch = Batch(torch.randint(1, own.vocab_size, (micro, train.sequence + 1)), None)
    loss, optimizer = TokenLoss(model, 0, train.boundaries), build_optimizer(model, train)

    def backward() -> None:
        with autocast(compute.device, compute.precision):
            loss.total(batch).backward()

    return _median(backward) * -(-train.batch // micro) + _median(optimizer.step)


def _median(act: Any) -> float:
    """Median seconds of an action, after one that is not counted."""
    act()
    seconds = list[float]()
    while len(seconds) < REPEATS and sum(seconds) < ENOUGH:
        began = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
