"""Traps: quota and similarity by hand."""

from __future__ import annotations

import pytest

from cl.data.traps import Quota, jaccard


def test_similarity_by_hand() -> None:
    assert jaccard([1, 2, 2, 3], [3, 4]) == 0.25
    assert jaccard([1], [1, 1]) == 1.0
    assert jaccard([], []) == 0.0


def test_each_perplexity_has_as_many() -> None:
    quota = Quota(each=2, lowest=1, highest=3)
    offered = [((1, 2), 1.0), ((3, 4), 1.99), ((5, 6), 1.5), ((7, 8), 3.9), ((9, 10), 4.0), ((11, 12), float("inf"))]
    assert [quota.offer(*each) for each in offered] == [True, True, False, True, False, False]
    assert quota.kept == {1: [(1, 2), (3, 4)], 3: [(7, 8)]}
    assert quota.lacking == [2, 3]


@pytest.mark.parametrize(("ids", "kept"), [((1, 2, 9, 10), False), ((1, 6, 7, 8, 9), True), ((6, 7), True)])
def test_what_resembles_a_kept_sequence_of_any_perplexity_is_refused(ids: tuple[int, ...], kept: bool) -> None:
    quota = Quota(each=5, lowest=2, highest=9)
    assert not quota.offer((20, 21), 1.9)  # too low
    assert quota.offer((1, 2, 3, 4, 5), 7.0)
    assert quota.offer(ids, 2.0) is kept  # 2 / 7, 1 / 9, 0
