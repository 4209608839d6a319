"""Time that training loses to a checkpoint: written by the training itself, and from a copy by a thread.

    python benchmarks/checkpoints.py [--model=smollm2-135m-instruct] [--steps=4] [--rounds=3] [--folder=FOLDER]

A round is `steps` optimizer steps without a checkpoint, as many after one that training writes
(`checkpoints.background: false`), and as many, or until it is written, after one in the background. Printed are the
medians over the rounds of the seconds that training waited, and of all that it lost: the time of the steps is
compared with that of steps without a checkpoint, because the thread takes time from them as well. The first copy is
slower, as its memory is new, and stands apart. Steps read one row of 64 tokens.
"""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jsonargparse import auto_cli

from cl.config.checkpoints import Checkpoints
from cl.config.model import Model
from cl.config.train import Optimization
from cl.models import pretrained
from cl.training.checkpoint_writer import Writer
from cl.training.optimizer import build_optimizer

TOKENS = 64


def stepping(model: Any, optimizer: torch.optim.Optimizer) -> Callable[[], float]:
    """A function that does an optimizer step and returns its seconds."""
    ids = torch.arange(TOKENS)[None] * 7919 % 1000

    def step() -> float:
        began = time.monotonic()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return time.monotonic() - began

    return step


def lost(
    writer: Writer, number: int, model: Any, optimizer: torch.optim.Optimizer, step: Callable[[], float], steps: int
) -> tuple[float, float, float]:
    """Seconds of a checkpoint: that training waited, that it lost in all, until the checkpoint was complete."""
    alone = statistics.median(step() for _ in range(steps))
    began = time.monotonic()
    writer.save(number, model, optimizer, [], {})
    done, complete = 0, None
    while done < steps or writer.busy:
        step()
        done += 1
        complete = complete or (None if writer.busy else time.monotonic() - began)
    return writer.lost, time.monotonic() - began - done * alone, complete or 0.0


def main(model: str = "smollm2-135m-instruct", steps: int = 4, rounds: int = 3, folder: str | None = None) -> None:
    """Measure and print.

    Args:
        model: name of a packaged or a fresh model.
        steps: optimizer steps after each checkpoint, at least.
        rounds: checkpoints of each kind, after the first.
        folder: where checkpoints are written; by default the folder of temporary files.
    """
    made = pretrained.create(Model(name=model), 32_000, 0, 0, TOKENS).train()
    optimizer = build_optimizer(made, Optimization(lr=1e-5))
    step = stepping(made, optimizer)
    step()
    parameters = sum(p.numel() for p in made.parameters())
    print(f"{model}: {parameters / 1e6:.0f} M parameters, state of {3 * 4 * parameters / 1e9:.2f} GB", flush=True)
    found: dict[bool, list[tuple[float, float, float]]] = {False: [], True: []}
    with tempfile.TemporaryDirectory(dir=folder) as place:
        writers = {way: Writer(Path(place) / str(way), Checkpoints(background=way)) for way in found}
        for number in range(rounds + 1):
            for way, writer in writers.items():
                found[way].append(lost(writer, number, made, optimizer, step, steps))
                writer.wait()
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
                words = "{:.2f} s waited, {:.2f} s lost, complete after {:.2f} s".format(*found[way][-1])
                print(f"{number} {'background' if way else 'training  '} {words}, peak {peak:.2f} GB", flush=True)
    for way, each in found.items():
        waited, in_all, complete = (statistics.median(column) for column in zip(*each[1:], strict=True))
        name = "in the background" if way else "by the training  "
        print(f"{name}: {waited:.2f} s waited, {in_all:.2f} s lost, complete after {complete:.2f} s", flush=True)


if __name__ == "__main__":
    auto_cli(main)
