"""Compute a modulate node: the questions of a set, each with the prefix that a bank of documents gives it.

The rows are those of a row of R without a bank, token by token; `prefixes.safetensors` holds the prefix of each.
"""

from __future__ import annotations

import shutil
import time
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from cl.graph.measurement_specs import ModulateSpec
from cl.graph.roles import NETWORK as NETWORK_NODE
from cl.graph.roles import STATE, Inputs, data
from cl.graph.specs import row_length
from cl.graph.stored import result_of
from cl.methods import strategy
from cl.methods.modulates import Modulates
from cl.models import modulation, pretrained
from cl.models.forward import autocast
from cl.steps.amortise import CHUNK, NETWORK, dialogues, opened, written
from cl.steps.context import Context
from cl.training.validation import window


def run(spec: ModulateSpec, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Write the documents of the learned tasks into a bank, and read a prefix for each measured question.

    Returns:
        Result of the data node; `memory`: figures of `cl.metrics.memories`, with the seconds to write a document.
    """
    method = strategy.build_method(spec.method, f"bank for {spec.set}")
    assert isinstance(method, Modulates)
    folder, split, sequence = inputs[data(spec.set)], spec.split, row_length(spec.packing, spec.set)
    model = modulation.frozen(pretrained.load(inputs[STATE])).to(spec.compute.device)
    network = opened(method, model)
    network.load_state_dict(load_file(inputs[NETWORK_NODE] / NETWORK))
    roles = sorted((role for role in inputs if role.kind == "memory"), key=lambda role: role.place or 0)
    _, count = window(folder, spec.set, split, sequence, spec.tokens)
    asked = dialogues(folder, spec.set, split, sequence)
    count = min(len(asked), max(count, spec.items))
    with autocast(spec.compute.device, spec.compute.precision), torch.no_grad():
        began = time.perf_counter()
        studied = [dialogues(inputs[role], str(role.name), "train", sequence) for role in roles]
        bank = torch.cat([written(network, model, documents) for documents in studied])
        wrote, began = time.perf_counter() - began, time.perf_counter()
        prefixes = []
        for start in range(0, count, CHUNK):
            context.watcher.progress(start, count)
            questions = [asked.question(row) for row in range(start, min(start + CHUNK, count))]
            prefixes.append(network.read(*modulation.states_of(model, questions), bank, method.top_k).float().cpu())
        seconds = time.perf_counter() - began
    save_file({"prefixes": torch.cat(prefixes)}, context.out / "prefixes.safetensors")
    for name in ("tokens.safetensors", f"{split}.examples.json"):
        shutil.copyfile(folder / name, context.out / name)
    alone = float(asked.answers[:count].mean())
    figures = {
        "stored": len(bank),
        "bytes": bank.numel() * bank.element_size(),
        "shown": min(method.top_k or len(bank), len(bank)),
        "dropped": 0,
        "read": alone + prefixes[0].shape[1],
        "alone": alone,
        "seconds": seconds / count,
        "seconds_to_write": wrote / len(bank),
    }
    return result_of(folder) | {"memory": figures}
