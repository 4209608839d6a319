"""Retrieval by words: Okapi BM25 (Robertson and Zaragoza, 2009)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cl.errors import UserError
from cl.methods.retrieves import Recall, Retrieves
from strategies.retrieval.words import counts, vocabulary

if TYPE_CHECKING:
    from cl.methods.retrieves import Floats


def bm25(documents: Sequence[str], queries: Sequence[str], k1: float, b: float) -> Floats:
    """BM25 score of each document for each query [queries, documents].

    score(q, d) = Σ_w n(w, q) · idf(w) · f (k1 + 1) / (f + k1 (1 - b + b |d| / mean |d|)), with f = n(w, d) and
    idf(w) = ln(1 + (N - df(w) + 1/2) / (df(w) + 1/2)), which is never negative.

    Args:
        documents: N texts.
        queries: texts.
        k1: how slowly repeated words saturate.
        b: how far long documents are discounted, in [0, 1].
    """
    import numpy as np

    known = vocabulary(documents)
    found = counts(documents, known).tocoo()
    lengths = np.bincount(found.row, found.data, minlength=len(documents))
    containing = np.bincount(found.col, minlength=len(known))
    idf = np.log(1 + (len(documents) - containing + 0.5) / (containing + 0.5))
    norm = k1 * (1 - b + b * lengths / max(1.0, float(lengths.mean())))
    found.data = idf[found.col] * found.data * (k1 + 1) / (found.data + norm[found.row])
    scored: Floats = (counts(queries, known) @ found.T.tocsr()).toarray()
    return scored


@dataclass(eq=False)
class BM25(Retrieves):
    """Show the stored examples that share the rarest words with the question.

    An example that shares no word with the question is not shown. Deviation: own code in place of the library bm25s,
    without stemming and stop words; k1 and b are the defaults of bm25s and Lucene's variant of idf is used.

    Args:
        k1: how slowly repeated words saturate.
        b: how far long examples are discounted, in [0, 1].
    """

    k1: float = 1.5
    b: float = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k1 < 0 or not 0 <= self.b <= 1:
            raise UserError(f"k1, b: {self.k1}, {self.b}: k1 must be at least 0, and b in [0, 1]")

    def scores(self, recall: Recall) -> Floats:
        """BM25 of each stored example; -inf without a shared word."""
        import numpy as np

        found = bm25(recall.stored, recall.asked, self.k1, self.b)
        return np.where(found > 0, found, -np.inf)
