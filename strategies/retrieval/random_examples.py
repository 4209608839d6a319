"""A placebo of retrieval: stored examples drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cl.methods.retrieves import Recall, Retrieves

if TYPE_CHECKING:
    from cl.methods.retrieves import Floats


@dataclass(eq=False)
class RandomExamples(Retrieves):
    """Show stored examples drawn at random for each question: as many tokens as retrieval, without its choice."""

    draws: ClassVar[bool] = True

    def scores(self, recall: Recall) -> Floats:
        """Random numbers of the run's seed."""
        import numpy as np

        return np.random.default_rng(recall.seed).random((len(recall.asked), len(recall.stored)))
