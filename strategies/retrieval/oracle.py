"""The upper bound of retrieval: the document that each question is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cl.errors import UserError
from cl.methods.retrieves import Recall, Retrieves

if TYPE_CHECKING:
    from cl.methods.retrieves import Floats


@dataclass(eq=False)
class Oracle(Retrieves):
    """Show the document that the question was written about, once its task is learned: what no retriever is told.

    A bound of retrieval with the same reader, not of what could be answered: where the reader cannot use a document,
    the oracle is low as well. There is one such document, so `k` is 1.
    """

    k: int = 1

    kinds: ClassVar[tuple[str, ...]] = ("reading",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k != 1:
            raise UserError(f"k: {self.k} has no effect: a question is about one document; leave it out")

    def scores(self, recall: Recall) -> Floats:
        """1 for the question's own document, -inf for all others."""
        import numpy as np

        found = np.full((len(recall.asked), len(recall.stored)), -np.inf)
        for row, place in enumerate(recall.about):
            if place is not None:
                found[row, place] = 1.0
        return found
