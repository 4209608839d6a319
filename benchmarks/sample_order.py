"""Cost of estimating an order relative to a retraining, by tokens per batch, support points and readout.

    python benchmarks/sample_order.py [--batches=16] [--rows="[8,32,128]"] [--rounds=5]

llama-tiny-scaled on random tokens: the cost does not depend on the content. A retraining is timed as `cl order record`
does it, an estimate as one of a block of 128. Both alternate, and the ratio is the median over rounds, so that drift of
the machine cancels. Column *prepared*: cost of the grid and the reference runs in retrainings, with two sets of 512
tokens.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from jsonargparse import auto_cli

if Path(sys.path[0]) == Path(__file__).parent:  # `strategies` below is the package, not the benchmark here
    sys.path.pop(0)

from cl.config.model import Model
from cl.config.train import Train
from cl.data.batches import Batch
from cl.models import pretrained
from cl.sample_order import estimator as estimators
from cl.sample_order import references, trace_recorder
from cl.sample_order.batch_gradients import Stream
from cl.sample_order.estimator import Estimator
from cl.training.learner import Learner

VOCABULARY, SEQUENCE, BLOCK = 512, 64, 128
TARGETS = {"one": 8, "two": 8}  # rows of each set


def stream_of(batches: int, rows: int) -> Stream:
    """A stream of random batches of `rows` rows each."""
    model = pretrained.create(Model("llama-tiny-scaled"), VOCABULARY, 0, 0, SEQUENCE)
    train = Train(lr=3e-4, sequence=SEQUENCE, batch=rows, precision="fp32", compile=False)
    learner = Learner(model, train, [], separator=0, total=batches)
    generator = torch.Generator().manual_seed(0)

    def drawn(count: int) -> Batch:
        return Batch(torch.randint(1, VOCABULARY, (count, SEQUENCE + 1), generator=generator), None)

    targets = {name: [drawn(count)] for name, count in TARGETS.items()}
    return Stream([(learner, batches)], [drawn(rows) for _ in range(batches)], targets)


def ratio(estimator: Estimator, rounds: int) -> float:
    """Orders estimated in the time of one retraining, median over rounds."""
    stream, start = estimator.stream, estimator.grid.supports.start
    asked, found = references.drawn(len(stream.batches), BLOCK, seed=1), []
    for each in range(rounds + 1):  # the first warms up
        begun = time.perf_counter()
        trace_recorder.record(stream, asked[each % BLOCK], start, every=len(stream.batches))
        trained = time.perf_counter()
        estimator.estimate_many(asked)
        found.append((trained - begun) / (time.perf_counter() - trained) * BLOCK)
    return statistics.median(found[1:])


def main(batches: int = 16, rows: list[int] = [8, 32, 128], rounds: int = 5) -> None:  # noqa: B006
    """Print the table.

    Args:
        batches: batches of the stream.
        rows: rows per batch, one part of the table for each.
        rounds: measurements per line.
    """
    print(f"{'tokens a batch':>14} {'supports':>8} {'prepared':>8} {'orders per retraining:':>22} quadratic  forward")
    for count in rows:
        for stars in (False, True):
            stream = stream_of(batches, count)
            sets = sum(TARGETS.values()) / (batches * count)
            with tempfile.TemporaryDirectory() as folder:
                built = estimators.build(stream, Path(folder), stars=stars)
                points = len(built.grid.supports.places)
                each = [ratio(dataclasses.replace(built, readout=name), rounds) for name in ("quadratic", "forward")]
                prepared = 2 + points * (1 + sets)
            print(
                f"{count * SEQUENCE:14,} {points - 1:8} {prepared:8.0f} {'':22} {each[0]:9.1f} {each[1]:8.1f}",
                flush=True,
            )


if __name__ == "__main__":
    auto_cli(main)
