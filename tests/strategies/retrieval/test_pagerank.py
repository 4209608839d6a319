"""PageRank: by hand, against networkx on a small graph, and what it finds that words alone do not."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from scipy.sparse import csr_array

from cl.errors import UserError
from cl.methods.retrieves import Recall
from strategies.retrieval.bm25 import BM25
from strategies.retrieval.pagerank import PageRank, graph, pagerank, passage_scores

DOCUMENTS = ["anna wrote the letter", "the letter reached oslo", "oslo is cold", "rye bread"]


def test_two_nodes_by_hand() -> None:
    """x_a = 1/2 + x_b / 2 and x_b = x_a / 2, so x = (2/3, 1/3)."""
    found = pagerank(csr_array([[0.0, 3.0], [3.0, 0.0]]), np.array([[1.0], [0.0]]), 0.5)
    assert found[:, 0] == pytest.approx([2 / 3, 1 / 3])


def test_the_graph_by_hand() -> None:
    contained = csr_array(np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]))  # passages "a b" and "a b c"
    assert graph(contained).toarray().tolist() == [
        [0, 0, 1, 1, 0],
        [0, 0, 1, 1, 1],
        [1, 1, 0, 2, 1],  # a and b are together twice, a and c once
        [1, 1, 2, 0, 1],
        [0, 1, 1, 1, 0],
    ]


@pytest.mark.parametrize("damping", [0.0, 0.5, 0.85])
def test_it_is_the_pagerank_of_networkx(damping: float) -> None:
    names = ["P0", "P1", "a", "b", "c"]
    contained = csr_array(np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]))
    edges = [("P0", "a", 1), ("P0", "b", 1), ("P1", "a", 1), ("P1", "b", 1), ("P1", "c", 1), ("a", "b", 2)]
    by_hand = nx.Graph()
    by_hand.add_weighted_edges_from([*edges, ("a", "c", 1), ("b", "c", 1)])
    seeds = {"a": 0.25, "c": 0.75}
    wanted = nx.pagerank(by_hand, alpha=damping, personalization=seeds, tol=1e-12)
    found = pagerank(graph(contained), np.array([[seeds.get(name, 0.0)] for name in names]), damping)
    assert found[:, 0] == pytest.approx([wanted[name] for name in names], abs=1e-8)


def test_rare_words_lead_the_walk() -> None:
    """`the` is in two documents and `anna` in one: the seeds are 1/3 and 2/3."""
    (found,) = passage_scores(DOCUMENTS, ["the anna"], 0.0)
    assert found.tolist() == [0.0] * 4  # the walk stays at its seeds
    (found,) = passage_scores(DOCUMENTS, ["the anna"], 0.5)
    assert found.argmax() == 0
    assert found[3] == 0.0


def test_it_reaches_what_shares_no_word_with_the_question() -> None:
    recall = Recall(DOCUMENTS, ["anna"])
    assert np.isfinite(BM25().scores(recall)).tolist() == [[True, False, False, False]]
    (found,) = PageRank().scores(recall)
    assert found.argsort()[::-1].tolist()[:3] == [0, 1, 2]
    assert np.isneginf(found[3])


def test_a_question_of_unknown_words_gets_nothing() -> None:
    assert np.isneginf(PageRank().scores(Recall(DOCUMENTS, ["…", "qqq"]))).all()


def test_many_questions_are_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["anna", "oslo bread", "cold letter"]
    alone = [passage_scores(DOCUMENTS, [each], 0.5)[0] for each in asked]
    monkeypatch.setattr("strategies.retrieval.pagerank.QUESTIONS", 2)
    assert passage_scores(DOCUMENTS, asked, 0.5) == pytest.approx(np.array(alone), abs=1e-8)


def test_settings() -> None:
    with pytest.raises(UserError, match=r"damping: 1.0 must be in \[0, 1\)"):
        PageRank(damping=1.0)
