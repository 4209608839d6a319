"""The protocol of a method that shows stored examples beside each question: a memory beside the weights.

Such a method changes what a row of R reads, not the model: a retrieve node (`cl.steps.retrieve`) stands between a set
and the row, and puts examples of the tasks learned so far before each question. A strategy trains as its other methods
say; with `untrained` it trains nothing, and every row is of the base model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

from cl.errors import UserError
from cl.methods.method import Method
from cl.tasks.task import ANSWERED

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.floating]

T = TypeVar("T")


@dataclass(frozen=True)
class Recall:
    """Argument of `Retrieves.scores`: what is stored, and what is asked.

    Args:
        stored: text of each stored example, its question and its answer, or each stored document, in the order of
            learning [n].
        asked: text of each question [m].
        stored_vectors: unit vectors of the stored texts [n, D]. None: the method reads no vectors.
        asked_vectors: unit vectors of the questions [m, D].
        seed: seed of the run; None: the method draws nothing.
        about: place of the stored document that each question is about, None where it is not stored [m]; empty where no
            document of the asked set is stored. No method but an oracle may read it.
    """

    stored: Sequence[str]
    asked: Sequence[str]
    stored_vectors: Floats | None = None
    asked_vectors: Floats | None = None
    seed: int | None = None
    about: Sequence[int | None] = ()


@dataclass(eq=False)
class Retrieves(Method):
    """Shows stored examples before each question. Derive a dataclass with `eq=False`, and override `scores`.

    Before the questions of an instruction task stand training examples of the instruction tasks learned so far; before
    those of a reading task stand documents of the reading tasks learned so far, and never a question. Sets without
    questions (text) are evaluated as without the method, and are in no memory.

    Args:
        k: examples shown per question, at most.
        index: `growing`: the memory gets the examples of each task that is learned; `frozen`: of the first task
            of its kind alone.
        order: `rank`: the best example first; `edges`: ranks 1, 3, 5, … first and …, 6, 4, 2 last, so that the best are
            at both ends (arXiv 2410.05983; the permutation is recalled, not read in the paper).
        budget: stored examples per task, evenly spaced over its training split. None: all.
        context: tokens of a row, with its examples, its question and its answer. None: `train.sequence`. What does not
            fit is dropped, the lowest rank first, and counted.

    Attributes:
        encodes: `scores` reads vectors of the texts, which embed nodes compute once per task.
        encoding_settings: names of settings that change the vectors alone.
        draws: `scores` depends on the run's seed.
        kinds: kinds of tasks before whose questions something is shown.
    """

    k: int = 4
    index: Literal["growing", "frozen"] = "growing"
    order: Literal["rank", "edges"] = "rank"
    budget: int | None = None
    context: int | None = None

    encodes: ClassVar[bool] = False
    encoding_settings: ClassVar[tuple[str, ...]] = ()
    draws: ClassVar[bool] = False
    kinds: ClassVar[tuple[str, ...]] = ANSWERED

    def __post_init__(self) -> None:
        for name in ("k", "budget", "context"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"{name}: {value} must be at least 1; leave the method out to show nothing")
        if self.index not in ("growing", "frozen"):
            raise UserError(f"index: {self.index!r} is neither growing nor frozen")
        if self.order not in ("rank", "edges"):
            raise UserError(f"order: {self.order!r} is neither rank nor edges")

    def encoder(self) -> str | None:
        """Folder of the model that encodes texts, if `encodes`. None: the experiment's model before any training."""
        return None

    def scores(self, recall: Recall) -> Floats:
        """Return how well each stored example suits each question [m, n]: higher is better, -inf is never shown."""
        raise NotImplementedError


def stored(examples: Sequence[T], budget: int | None) -> list[T]:
    """What a memory stores of a task's examples or documents: `budget` of them, evenly spaced; all without a budget."""
    count = len(examples) if budget is None else min(budget, len(examples))
    return [examples[place * len(examples) // count] for place in range(count)]


def ranked(scores: Floats, k: int) -> list[list[int]]:
    """Numbers of the `k` best stored examples of each question, best first; of equal ones, the one stored first.

    Args:
        scores: score of each stored example for each question [m, n]; -inf is never shown.
        k: largest number of examples per question.
    """
    import numpy as np

    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return [[int(place) for place in row if own[place] > -np.inf] for own, row in zip(scores, best, strict=True)]


def arranged(best: Sequence[T], order: str) -> list[T]:
    """Ranked examples in the order in which they are shown: see `Retrieves`."""
    return [*best[::2], *best[1::2][::-1]] if order == "edges" else list(best)
