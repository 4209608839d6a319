"""Answers of the model as the store keeps them: `items/NAME.jsonl` in the node of each row of R."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cl.execution.records import DamageError
from cl.execution.store import Store
from cl.graph.node import Node
from cl.metrics import transitions
from cl.metrics.records import RunResult
from cl.tasks.example import Example


class Reader:
    """Reads single files of stored nodes, each checked against its record; nodes that runs share are read once.

    Args:
        store: the store.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._rights: dict[tuple[str, str], tuple[list[str], dict[str, str]]] = {}

    def items(self, key: str, name: str) -> list[dict[str, Any]]:
        """All answers to a set in the node of a row: question, reference, answer and scores.

        Raises:
            DamageError: if the file is missing or changed.
        """
        lines = self._text(key, f"items/{name}.jsonl").split("\n")  # an answer may hold other ends of lines
        return [json.loads(line) for line in lines if line]

    def rights(self, key: str, name: str, scores: Iterable[str]) -> tuple[list[str], dict[str, str]]:
        """References of a set, and by score one character per question: 1 right, 0 wrong.

        Scores with other values than 0 and 1 are left out.
        """
        if (key, name) not in self._rights:
            items = self.items(key, name)
            values = {score: [float(item[score]) for item in items] for score in scores}
            texts = {
                score: "".join(transitions.RIGHT if value else transitions.WRONG for value in each)
                for score, each in values.items()
                if set(each) <= {0.0, 1.0}
            }
            self._rights[key, name] = [item["reference"] for item in items], texts
        return self._rights[key, name]

    def examples(self, node: Node, split: str) -> list[Example]:
        """Examples of a split of an instruction set."""
        return [Example.parse(raw) for raw in json.loads(self._text(node.key, f"{split}.examples.json"))]

    def _text(self, key: str, name: str) -> str:
        """Text of a file of a stored node."""
        record = self.store.read(key)
        try:
            content: bytes = self.store.fs.cat_file(f"{self.store.root}/nodes/{record.key}/{name}")
            known = record.files[name]["sha256"]
        except (FileNotFoundError, KeyError) as error:
            raise DamageError(record.key, [f"{name} is missing"]) from error
        if hashlib.sha256(content).hexdigest() != known:
            raise DamageError(record.key, [f"{name} is changed"])
        return content.decode()


def with_answers(run: RunResult, data: Mapping[str, Node], split: str, reader: Reader) -> RunResult:
    """The run with which answers are right in each row of R, and the number of options of each set.

    Args:
        run: the collected run.
        data: data node of each set, without transformations.
        split: split that rows of R are measured on.
        reader: reads the answers.
    """
    found: dict[int, dict[str, dict[str, str]]] = {}
    references: dict[str, list[str]] = {}
    for t, row in run.matrix.items():
        for name, cell in row.items():
            if cell.items and not cell.harness:
                references[name], rights = reader.rights(run.matrix_keys[t], name, cell.scores)
                found.setdefault(t, {})[name] = rights
    options = {name: _options(data[name], split, asked, reader) for name, asked in references.items()}
    known = {name: number for name, number in options.items() if number is not None}
    return dataclasses.replace(run, answers=found, options=known)


def _options(node: Node, split: str, references: Sequence[str], reader: Reader) -> float | None:
    """Number of options of a set; None if a method of the strategy changed the references, so that they are unknown."""
    asked = reader.examples(node, split)[: len(references)]
    return transitions.options(asked) if [example.answer for example in asked] == list(references) else None


def after_the_last_task(
    runs: Iterable[RunResult], store: Store, score: str, skip: int = 0
) -> dict[str, dict[str, dict[str, list[tuple[str, float]]]]]:
    """Scores of single answers after the last task.

    Args:
        runs: collected runs.
        store: the store.
        score: name of the score.
        skip: number of first tasks to leave out.

    Returns:
        By strategy, unit ("seed S, ORDER") and task: pairs of question and score.
    """
    reader = Reader(store)
    found: dict[str, dict[str, dict[str, list[tuple[str, float]]]]] = {}
    for run in runs:
        row = max(run.matrix)
        by_task = {
            task: [(item["question"], float(item[score])) for item in reader.items(run.matrix_keys[row], task)]
            for task in run.order[skip:]
            if run.matrix[row][task].items
        }
        found.setdefault(run.strategy, {})[f"seed {run.seed}, {' > '.join(run.order)}"] = by_task
    return found
