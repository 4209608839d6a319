"""Seconds of nodes that read the sources: data nodes, and tokenizers that are trained. From bytes of files and a speed.

A source that says its `size` (bytes of text, without reading it) is counted; one that generates its documents or loads
them from elsewhere is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from cl.execution import calibration
from cl.execution.records import Record
from cl.graph.node import Node
from cl.graph.specs import DataSpec, TokenizerSpec
from cl.tasks.scenario import Scenario
from cl.tasks.task import Task

READING = 20e6  # bytes per second: files are read, documents are split; one core, benchmarks/data.py
COMPARING = 10e6  # bytes per second of the training text that is searched for the test split's shingles
COMPARED = 50e6  # bytes that are searched at most
TRAINED = 8_000_000  # bytes of a task on which a tokenizer is trained: TRAINING_BYTES of cl.steps.tokenizer
LEARNING = 2e6  # bytes per second: a tokenizer of some thousand tokens is trained
SMALL = 1e6  # bytes: less takes no time that is worth a calibration


class DataCost:
    """Seconds beyond those that a node takes whatever its size.

    Args:
        defined: the scenario.
        records: records of the store; the newest data node of a large text tells the speed.
    """

    def __init__(self, defined: Scenario, records: Iterable[Record]) -> None:
        self.defined, self._records = defined, records

    def seconds(self, node: Node) -> float:
        """Seconds of a node; 0 for other kinds, and where no source says its size."""
        spec = node.spec
        if isinstance(spec, DataSpec):
            return self._data(self.defined.task(spec.task))
        if isinstance(spec, TokenizerSpec):
            return sum(self._tokenizer(self.defined.task(name)) for name in spec.train_on)
        return 0.0

    def _data(self, task: Task) -> float:
        read, kept = sizes(task)
        if task.name in self.defined.retain:
            kept = min(kept, round(read * (self.defined.validation + self.defined.test)))
        return _reading(read, kept) + (kept / self.rate if kept > SMALL else 0.0)

    def _tokenizer(self, task: Task) -> float:
        read, kept = sizes(task)
        return _reading(read, kept) + min(kept, TRAINED) / LEARNING

    @cached_property
    def rate(self) -> float:
        """Bytes of text that are encoded in a second: those of the newest large data node, or a calibration."""
        found = [(record.created, speed) for record in self._records if (speed := _speed(record)) is not None]
        return max(found)[1] if found else calibration.encoding()


def sizes(task: Task) -> tuple[int, int]:
    """Bytes of text that the sources of a task hold, as far as they say it, and the bytes that limits leave of it."""
    found = [(int(size()), part.limit) for part in task.sources if (size := getattr(part.source, "size", None))]
    kept = sum(size if limit is None else min(size, limit) for size, limit in found)
    return sum(size for size, _ in found), kept if task.limit is None else min(kept, task.limit)


def _reading(read: int, kept: int) -> float:
    return read / READING + min(kept, COMPARED) / COMPARING


def _speed(record: Record) -> float | None:
    """Bytes of text per second of a stored data node, after what it took to read; None for other and small nodes."""
    if record.identity["kind"] != "data" or record.result.get("kind") != "text":
        return None
    size = sum(record.result["report"]["bytes"].values())
    seconds = record.result.get("seconds_in_all", 0.0) - _reading(size, size)
    return size / seconds if size > SMALL and seconds > 0 else None
