"""Compute an amortise node: train the network of a bank on the articles of one set, with a frozen language model.

The network learns from the set's test questions; its validation questions are held out, and tell whether a bank of all
the set's documents helps. So the set's own column in R is no measurement for a strategy with the bank.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from cl.data import tokenization
from cl.data.batches import collate
from cl.data.rows import DialogueRows, rows
from cl.errors import UserError
from cl.graph.measurement_specs import AmortiseSpec
from cl.graph.roles import STATE, TOKENIZER, Inputs, data
from cl.graph.stored import result_of
from cl.methods import strategy
from cl.methods.modulates import Modulates, Network
from cl.models import modulation, pretrained
from cl.models.forward import TokenLoss, autocast
from cl.steps.context import Context

NETWORK = "network.safetensors"
WARM_UP = 0.01  # of the steps
CLIP = 1.0  # largest norm of the gradient
CHUNK = 32  # documents or questions per forward pass


def run(spec: AmortiseSpec, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Train the network and store it.

    Returns:
        Bytes of the network, seconds, the mean loss of the last tenth of the steps, and of the held-out questions the
        loss behind a bank of all documents and behind nothing, in nats per token.

    Raises:
        UserError: for fewer documents with questions than a batch has.
    """
    torch.manual_seed(spec.seed)
    method = strategy.build_method(spec.method, f"bank of {spec.set}")
    assert isinstance(method, Modulates)
    model = modulation.frozen(pretrained.load(inputs[STATE])).to(spec.compute.device)
    separator = result_of(inputs[TOKENIZER])["separator_id"]
    loss = TokenLoss(model, separator, spec.packing.boundaries, spec.compute.attention)
    folder = inputs[data(spec.set)]
    documents, learned, held = (
        dialogues(folder, spec.set, split, spec.packing.sequence) for split in ("train", "test", "validation")
    )
    about = _by_document(tokenization.about(folder, "test"))
    if len(about) < method.batch:
        raise UserError(f"{spec.method.name}: batch: {method.batch} is more than {len(about)} documents of {spec.set}")
    network = opened(method, model)
    began = time.perf_counter()
    with autocast(spec.compute.device, spec.compute.precision):
        losses = _train(network, method, loss, documents, learned, about, spec.seed, context)
        seconds = time.perf_counter() - began
        told = _held_out(network, loss, documents, held)
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(tensors, context.out / NETWORK)
    tail = losses[-max(1, len(losses) // 10) :]
    size = sum(value.numel() * value.element_size() for value in tensors.values())
    return {"bytes": size, "seconds": seconds, "loss": sum(tail) / len(tail), **told}


def opened(method: Modulates, model: Any) -> Any:
    """The method's network with fresh weights, on the device of the model."""
    network: Any = method.network(model.get_input_embeddings().weight.shape[1], modulation.scale_of(model))
    return network.to(model.device)


def dialogues(folder: Path, name: str, split: str, sequence: int) -> DialogueRows:
    """The documents or the questions of a reading task."""
    found = rows(folder, name, split, sequence)
    assert isinstance(found, DialogueRows)
    return found


def _by_document(about: Sequence[int]) -> dict[int, list[int]]:
    """Numbers of the questions about each document that has some."""
    found: dict[int, list[int]] = {}
    for question, document in enumerate(about):
        found.setdefault(document, []).append(question)
    return found


def _train(
    network: Any,
    method: Modulates,
    loss: TokenLoss,
    documents: DialogueRows,
    learned: DialogueRows,
    about: Mapping[int, Sequence[int]],
    seed: int,
    context: Context,
) -> list[float]:
    """Train in passes over the documents in random orders; returns the loss of each step in nats per token."""
    chance, queue, losses = random.Random(seed), list[int](), list[float]()
    optimizer = torch.optim.Adam(network.parameters(), method.lr)
    warm = max(1, round(WARM_UP * method.steps))
    for step in range(method.steps):
        context.watcher.progress(step, method.steps)
        if len(queue) < method.batch:
            queue = chance.sample(sorted(about), len(about))
        chosen, queue = queue[: method.batch], queue[method.batch :]
        questions = [chance.choice(about[number]) for number in chosen]
        bank = network.write(*modulation.states_of(loss.model, [documents[number].ids for number in chosen]))
        total, tokens = _loss(network, loss, learned, questions, bank)
        for group in optimizer.param_groups:
            group["lr"] = method.lr * min(1.0, (step + 1) / warm)
        optimizer.zero_grad()
        (total / tokens).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        losses.append(float(total.detach()) / tokens)
    return losses


def _loss(
    network: Network, loss: TokenLoss, asked: DialogueRows, questions: Sequence[int], bank: Tensor | None
) -> tuple[Tensor, int]:
    """Summed loss of the answers to some questions behind a bank, or behind nothing, and number of their tokens."""
    batch = collate((asked[row] for row in questions), loss.separator).to(str(loss.model.device))
    prefix = None
    if bank is not None:
        states, mask = modulation.states_of(loss.model, [asked.question(row) for row in questions])
        prefix = network.read(states, mask, bank, None)
    with loss.behind(prefix):
        return loss.total(batch), int(batch.learned())


def _held_out(network: Network, loss: TokenLoss, documents: DialogueRows, held: DialogueRows) -> dict[str, float]:
    """Loss of the held-out questions behind a bank of all documents, and behind nothing, in nats per token."""
    with torch.no_grad():
        bank = written(network, loss.model, documents)
        found = {}
        for name, given in (("held_out", bank), ("held_out_closed_book", None)):
            parts = [
                _loss(network, loss, held, range(start, min(start + CHUNK, len(held))), given)
                for start in range(0, len(held), CHUNK)
            ]
            found[name] = sum(float(total) for total, _ in parts) / sum(tokens for _, tokens in parts)
    return found


def written(network: Network, model: Any, documents: DialogueRows) -> Tensor:
    """The bank of documents [n, …], each written by itself."""
    with torch.no_grad():
        parts = [
            network.write(*modulation.states_of(model, [documents[row].ids for row in range(start, stop)]))
            for start, stop in ((at, min(at + CHUNK, len(documents))) for at in range(0, len(documents), CHUNK))
        ]
    return torch.cat(parts)
