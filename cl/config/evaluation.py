"""Settings of evaluation."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, field
from typing import Any, Literal

from cl.config.train import MOST_ROWS
from cl.errors import UserError
from cl.plain_values import MOST_AMOUNT, require_between

MOST_POINTS = 100_000
"""Evaluations inside of a stage: each is a point of a curve."""
MOST_ORDERS, MOST_REPEATS = 100, 8
"""Each order of the options is answered anew, and each repetition makes the prompt longer; both limits are ours."""
MOST_STOPS = 16


@dataclass(frozen=True)
class Evaluation:
    """What is measured, and when.

    Args:
        tokens: largest number of test tokens per data set in a full evaluation (a row of R).
        items: largest number of test examples per instruction task that the model answers; 0 = loss only.
        batch: rows per forward pass. It is the same for all nodes, so that scores do not depend on it.
        probe_tokens: validation tokens per data set in an in-task evaluation.
        points: in-task evaluations per stage; fewer if they exceed `share`.
        share: largest share of a stage's time that in-task evaluation may take.
        split: split that rows of R are measured on. `cl tune` chooses hyperparameters on `validation`, which measures
            only the tasks of the stream, without retain sets.
        choice_orders: orders of the options in which a question that lists them is answered; its score is the mean
            (`cl.tasks.option_orders`). 1: the order in the question, so a preference for a place counts as knowledge.
        repeat_context: how often a question stands in the prompt that is answered. Read twice (JRT, arXiv 2407.05483),
            what was not held the first time can be held; losses are those of the question as it was learned.
        stop: texts that end an answer, which is cut before the first of them.
        engine: what lets a model answer: `transformers` in the node's process, or a `vllm` server that the node starts
            on the merged weights. Losses are always those of transformers.
    """

    tokens: int = 65536
    items: int = 100
    batch: int = 8
    probe_tokens: int = 4096
    points: int = 20
    share: float = 0.1
    split: Literal["test", "validation"] = "test"
    choice_orders: int = 1
    repeat_context: int = 1
    stop: list[str] = field(default_factory=list)
    engine: Literal["transformers", "vllm"] = "transformers"

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise UserError(f"evaluation.share: {self.share} must be in [0, 1): it is a share of the time")
        require_between(self, "evaluation", tokens=(1, MOST_AMOUNT), items=(0, MOST_AMOUNT), batch=(1, MOST_ROWS))
        require_between(self, "evaluation", probe_tokens=(1, MOST_AMOUNT), points=(0, MOST_POINTS))
        require_between(self, "evaluation", choice_orders=(1, MOST_ORDERS), repeat_context=(1, MOST_REPEATS))
        if not all(self.stop) or len(set(self.stop)) < len(self.stop) or len(self.stop) > MOST_STOPS:
            raise UserError(f"evaluation.stop: {self.stop} must be at most {MOST_STOPS} different texts, none empty")

    @property
    def prompting(self) -> dict[str, int]:
        """Settings that change the prompts of answers, where they do."""
        return {key: value for key in ("choice_orders", "repeat_context") if (value := getattr(self, key)) > 1}

    @property
    def answering(self) -> dict[str, Any]:
        """Settings that change how questions are answered, where they do, in the form that enters keys.

        Raises:
            UserError: for an engine that is not installed; its version is in the key.
        """
        found: dict[str, Any] = {"stop": tuple(self.stop)} if self.stop else {}
        if self.engine == "transformers":
            return found
        try:
            return found | {"engine": f"{self.engine} {importlib.metadata.version(self.engine)}"}
        except importlib.metadata.PackageNotFoundError as error:
            remedy = f"pip install 'cl[{self.engine}]', or use transformers"
            raise UserError(f"evaluation.engine: {self.engine} is not installed; {remedy}") from error

    def notes(self) -> list[str]:
        """Sentences for every output about other prompts than the learned questions, and about other answers."""
        sentences = {
            "choice_orders": "where a question lists its options, the score is the mean over {} orders of them, or all",
            "repeat_context": "each question stands {} times in the prompt that is answered, and once where losses are",
        }
        found = [sentences[key].format(value) for key, value in self.prompting.items()]
        found += [f"an answer ends before the first of {self.stop}"] if self.stop else []
        return found + ([f"answers are those of {self.engine}"] if self.engine != "transformers" else [])
