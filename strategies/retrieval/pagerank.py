"""Retrieval by personalised PageRank over a graph of words that occur together. This is not HippoRAG 2.

HippoRAG 2 (arXiv 2502.14802) lets a language model extract triples, links phrases by similarity, seeds with triples
that a model has filtered, and adds dense similarity of passages. Here nodes are the words and the stored examples, and
edges are plain co-occurrence; shared are PageRank over phrases and passages, and the damping of 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cl.errors import UserError
from cl.methods.retrieves import Recall, Retrieves
from strategies.retrieval.words import counts, vocabulary

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from cl.methods.retrieves import Floats

SMALLEST_CHANGE = 1e-9  # of the sum of a distribution in one step
QUESTIONS = 64  # that are answered at once


def graph(contained: csr_array) -> csr_array:
    """Weights of the undirected graph of passages and words [P+W, P+W].

    An edge of a passage and a word has weight 1; of two words, the number of passages that hold both.

    Args:
        contained: 1 where a passage holds a word [P, W].
    """
    from scipy.sparse import block_array, csr_array, diags_array

    together = contained.T @ contained
    together = csr_array(together - diags_array(together.diagonal()))
    together.eliminate_zeros()
    return csr_array(block_array([[None, contained], [contained.T, together]]))


def pagerank(weights: csr_array, seeds: Floats, damping: float) -> Floats:
    """Personalised PageRank: the fixed point of x = (1 - d) s + d Wᵀ x, with rows of W normalised to 1.

    Args:
        weights: weights of edges [N, N]; every node that a seed reaches has an edge.
        seeds: distributions over nodes, one a column [N, m].
        damping: probability d to follow an edge in place of starting anew at a seed.

    Returns:
        Distributions over nodes [N, m], as `networkx.pagerank(alpha=d, personalization=s)` gives them.
    """
    import numpy as np
    from scipy.sparse import diags_array

    total = weights.sum(axis=1)
    step = (diags_array(1 / np.where(total > 0, total, 1.0)) @ weights).T.tocsr()
    found, change = seeds, np.inf
    while change > SMALLEST_CHANGE:
        following: Floats = (1 - damping) * seeds + damping * (step @ found)
        change = float(np.abs(following - found).sum(axis=0).max(initial=0.0))
        found = following
    return found


def passage_scores(documents: Sequence[str], queries: Sequence[str], damping: float) -> Floats:
    """PageRank of each document, seeded with each query's words [queries, documents]; 0 where no word is known.

    A word's share of the seed is the inverse of the number of documents that hold it, so that rare words lead.
    """
    import numpy as np
    from scipy.sparse import csr_array

    known = vocabulary(documents)
    contained = csr_array(counts(documents, known) > 0, dtype=float)
    weights = graph(contained)
    asked = (counts(queries, known) > 0).toarray() / contained.sum(axis=0)
    asked = asked / np.maximum(asked.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    seeds = np.concatenate([np.zeros((len(documents), len(queries))), asked.T])
    parts = [seeds[:, start : start + QUESTIONS] for start in range(0, len(queries), QUESTIONS)]
    return np.concatenate([pagerank(weights, part, damping)[: len(documents)] for part in parts], axis=1).T


@dataclass(eq=False)
class PageRank(Retrieves):
    """Show the stored examples that are near the question's words in a graph of co-occurring words; not HippoRAG 2.

    An example that shares no word can be shown, if its words occur together with the question's elsewhere. That is what
    the graph adds to BM25.

    Args:
        damping: probability to follow an edge in place of starting anew at a word of the question, in [0, 1).
    """

    damping: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.damping < 1:
            raise UserError(f"damping: {self.damping} must be in [0, 1)")

    def scores(self, recall: Recall) -> Floats:
        """PageRank of each stored example; -inf where the walk never comes."""
        import numpy as np

        found = passage_scores(recall.stored, recall.asked, self.damping)
        return np.where(found > 0, found, -np.inf)
