"""Dataset decomposition by hand: pieces of documents, the curriculum, and the order in which pieces are read."""

from __future__ import annotations

from itertools import count, repeat

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl.data.decomposition import curriculum, divide, in_steps, pieces


@pytest.mark.parametrize(
    ("length", "found"),
    [
        (30, [4, 3]),  # 17 + 9 ids are taken, 4 are left, below 2^2 + 1
        (5, [2]),
        (4, []),
        (17, [4]),
        (18, [4]),
        (40, [4, 4, 2]),  # longer than the longest piece, twice
    ],
)
def test_a_document_by_hand(length: int, found: list[int]) -> None:
    assert divide(length, 2, 4, None) == found


def test_a_document_longer_than_a_row_is_cut_by_the_draws() -> None:
    # of 7 = 1 + 2 + 4 numbers, 0 is of exponent 2, 1 and 2 of 3, 3 to 6 of 4
    assert divide(100, 2, 4, iter([0, 2, 6, 7, 1, 3, 6])) == [2, 3, 4, 2, 3, 4, 4, 4]


@given(st.lists(st.integers(1, 300), min_size=1, max_size=12), st.integers(0, 4), st.integers(0, 4))
def test_every_piece_is_a_slice_of_one_document(lengths: list[int], shortest: int, more: int) -> None:
    edges = np.cumsum([0, *lengths], dtype=np.int64)
    found = pieces(edges, shortest, shortest + more, count(5))
    taken = sorted((start, start + 2**k) for k, starts in found.items() for start in starts.tolist())
    for first, last in taken:
        document = int(np.searchsorted(edges, first, side="right")) - 1
        assert last <= edges[document + 1]
    learned = [token for first, last in taken for token in range(first + 1, last + 1)]
    assert len(learned) == len(set(learned))


def test_a_cycle_goes_from_short_to_long_and_reads_its_part() -> None:
    draws = iter(np.random.Philox(1).random_raw(1000).tolist())
    order = curriculum({5: 40, 6: 40, 7: 40}, 2, 2.0, draws)
    assert len(order) == 120
    for cycle in (order[:60], order[60:]):
        assert {k: cycle.count(k) for k in (5, 6, 7)} == {5: 20, 6: 20, 7: 20}
        assert np.mean(cycle[:20]) + 0.3 < np.mean(cycle[20:])


def test_odds_by_hand_and_a_length_without_steps_is_never_drawn() -> None:
    half = repeat(2**63)  # one half: of weights 2 and 1 the first, of 1 and 1 the second
    assert curriculum({3: 1, 4: 0, 5: 2}, 1, 2.0, half) == [3, 5, 5]  # 4 x 1 against 1 x 2
    assert curriculum({3: 1, 4: 0, 5: 2}, 1, 1.0, repeat(2**63)) == [5, 5, 3]


def test_a_step_holds_equally_many_tokens_of_one_length() -> None:
    found = {1: np.arange(10, 20), 2: np.arange(100, 103)}
    starts, lengths = in_steps(found, [1, 2, 1], rows=2, longest=2)
    assert lengths.tolist() == [2, 2, 4, 4, 2, 2]
    assert starts.tolist() == [10, 11, 12, 13, 100, 101, 14, 15, 16, 17]
