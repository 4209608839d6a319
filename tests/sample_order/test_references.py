"""The runs that an estimator stands on."""

from __future__ import annotations

from cl.sample_order import references


def test_references_are_given_reversed_and_new() -> None:
    found = references.orders(5, 4, seed=0)
    assert found[:2] == [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0)]
    assert len(set(found)) == 4
    assert references.orders(5, 1, seed=0) == found[:1]
    assert not set(references.drawn(5, 20, 1, found)) & set(found)
    assert len(references.drawn(2, 5, 0)) == 5  # there are only two: they repeat
