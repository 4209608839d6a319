"""Controlled insertion: the assignment, the slots and the splice by hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from cl.data.insertion import Design, Ints, draw, first_items, first_pairs, splice, splice_inside, windows
from cl.errors import UserError

DESIGN = Design("canaries", (1, 4), phases=2, stages=(1, 3), items=3, tokens=4)


def ids(*values: int) -> Ints:
    return np.array(values, dtype=np.int64)


def test_cells_are_balanced_and_each_item_is_in_one() -> None:
    assert DESIGN.cells == [(level, phase) for level in (0, 1, 4) for phase in (1, 2, 3, 4)]
    assert (DESIGN.size, DESIGN.copies) == (36, 3 * 2 * 5)
    assigned = DESIGN.assigned(0)
    assert {len(items) for items in assigned.values()} == {3}
    assert sorted(item for items in assigned.values() for item in items) == [*range(36)]
    assert assigned != DESIGN.assigned(1)


def test_phases_are_numbered_through_the_stages_and_cover_each() -> None:
    assert [[*DESIGN.phases_of(t)] for t in (1, 3)] == [[1, 2], [3, 4]]
    assert [DESIGN.stage_of(phase) for phase in (1, 2, 3, 4)] == [1, 1, 3, 3]
    assert [DESIGN.span(phase, 5) for phase in (3, 4)] == [range(3), range(2, 5)]  # floor(2.5), ceil(2.5)


def test_slots_are_distinct_free_and_inside_the_phase() -> None:
    free = np.ones((20, 4), dtype=bool)
    free[:, 2] = False
    copies = draw(DESIGN, 3, 0, free)
    assert len({(copy.step, copy.slot) for copy in copies}) == len(copies) == DESIGN.copies
    assert all(copy.step in DESIGN.span(copy.phase, 20) and copy.slot != 2 for copy in copies)
    assert {copy.phase for copy in copies} == {3, 4}
    counts, assigned = Counter(copy.item for copy in copies), DESIGN.assigned(0)
    assert counts == {
        item: level for (level, phase), items in assigned.items() for item in items if level and phase > 2
    }
    assert draw(DESIGN, 3, 0, free) == copies != draw(DESIGN, 3, 1, free)
    with pytest.raises(UserError, match="15 copies in phase 3, which has 9 rows"):
        draw(DESIGN, 3, 0, free[:6])


def test_pairs_are_beginnings_that_differ_each_once() -> None:
    design = Design("twins", (1,), phases=1, stages=(1,), items=1, tokens=2)
    texts = [ids(0, 5, 6, 7, 0), ids(0, 5, 0), ids(0, 8, 9, 0), ids(0, 8, 9, 9, 0), ids(0, 4, 4, 0)]
    twins = [ids(0, 5, 6, 8, 0), ids(0, 6, 6, 0), ids(0, 8, 8, 0), ids(0, 1, 1, 0), ids(0, 3, 3, 0)]
    one, other = first_pairs(texts, twins, design)  # equal where cut; too short; taken; its beginning again; taken
    assert (one.tolist(), other.tolist()) == ([[0, 8, 9], [0, 4, 4]], [[0, 8, 8], [0, 3, 3]])
    with pytest.raises(UserError, match="twins has 1 training pairs that differ in their first 2 tokens, 2 are needed"):
        first_pairs(texts[:4], twins[:4], design)


def test_slots_are_uniform() -> None:
    design = Design("canaries", (1,), phases=1, stages=(1,), items=8, tokens=4)
    free = np.ones((4, 4), dtype=bool)
    counts = Counter((copy.step, copy.slot) for seed in range(400) for copy in draw(design, 1, seed, free))
    assert len(counts) == 16
    assert all(abs(count - 200) < 50 for count in counts.values())  # half of 400 each; five standard deviations


@pytest.mark.parametrize(
    ("draws", "expected"),
    [
        ((0, 0), (ids(5, 0, 8, 9, 0, 6), 1, 0)),  # the first boundary, nothing dropped in front
        ((0, 1), (ids(0, 8, 9, 0, 6, 0), 1, 1)),  # one id dropped in front
        ((1, 0), (ids(5, 0, 6, 0, 8, 9), 3, 0)),  # the item ends the row
        ((1, 3), (ids(0, 8, 9, 0, 7, 7), 3, 3)),
        ((2, 4), (ids(5, 0, 8, 9, 0, 6), 1, 0)),  # draws wrap around
    ],
)
def test_a_row_takes_up_an_item_at_a_boundary(draws: tuple[int, int], expected: tuple[Ints, int, int]) -> None:
    found = splice(ids(5, 0, 6, 0, 7, 7), ids(0, 8, 9), 0, draws)
    assert (found.ids.tolist(), *found[1:]) == (expected[0].tolist(), *expected[1:])


def test_a_row_inside_a_document_takes_it_up_at_its_start_and_stays_apart() -> None:
    assert splice(ids(5, 6, 7, 5, 6, 7), ids(0, 8, 9), 0, (3, 3)).ids.tolist() == [0, 8, 9, 0, 5, 6]


@pytest.mark.parametrize(
    ("draw", "expected", "before"),
    [
        (0, [5, 8, 9, 0, 6, 7], [5]),  # behind the first token, and the end is cut
        (1, [5, 0, 6, 8, 9, 7], [6]),  # not behind the separator, which begins what is before
        (2, [5, 0, 6, 7, 8, 9], [6, 7]),  # ends the row
        (3, [5, 8, 9, 0, 6, 7], [5]),  # draws wrap around
    ],
)
def test_a_row_takes_up_an_item_inside_a_document(draw: int, expected: list[int], before: list[int]) -> None:
    spliced, found = splice_inside(ids(5, 0, 6, 7, 4, 3), ids(0, 8, 9), 0, draw)
    assert (spliced.ids.tolist(), found.tolist()) == (expected, before)
    assert spliced.ids[spliced.boundary :][:2].tolist() == [8, 9]


def test_a_row_without_a_document_takes_up_nothing_inside() -> None:
    with pytest.raises(UserError, match="inside: a row has no place behind a token"):
        splice_inside(ids(0, 0, 0, 5), ids(0, 8), 0, 0)


def test_no_window_cuts_the_item_or_changes_the_length() -> None:
    row, item = ids(4, 0, 5, 6, 0, 0, 7, 3, 0), ids(0, 8, 9, 8)
    for draws in [(one, other) for one in range(4) for other in range(6)]:
        found = splice(row, item, 0, draws).ids
        (start,) = [at for at in range(len(found)) if found[at : at + 4].tolist() == [0, 8, 9, 8]]
        assert len(found) == len(row)
        assert start + 4 == len(found) or found[start + 4] == 0  # what follows is another document


def test_windows_are_drawn_for_each_copy() -> None:
    copies = draw(DESIGN, 1, 0, np.ones((20, 4), dtype=bool))
    assert len({*windows(copies, 1, 0)}) == len(copies)


def test_items_are_the_beginnings_of_long_documents_each_once() -> None:
    design = Design("canaries", (1,), phases=1, stages=(1,), items=1, tokens=2)
    documents = [ids(0, 1), ids(0, 1, 2, 3), ids(0, 1, 2, 4), ids(0, 5, 6)]
    assert first_items(documents, design).tolist() == [[0, 1, 2], [0, 5, 6]]
    with pytest.raises(UserError, match="canaries has 1 training documents of at least 2 tokens, 2 are needed"):
        first_items(documents[:3], design)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": (0, 4)}, r"levels: \[0, 4\] must be different numbers of at least 1"),
        ({"levels": (4, 4)}, r"levels: \[4, 4\] must be different"),
        ({"stages": ()}, r"stages: \[\] must be rising"),
        ({"stages": (2, 1)}, r"stages: \[2, 1\] must be rising"),
        ({"phases": 0}, "phases: 0 must be at least 1"),
        ({"items": 0}, "items: 0 must be at least 1"),
        ({"tokens": 1}, "tokens: 1 must be at least 2"),
    ],
)
def test_what_can_insert_or_compare_nothing_is_told(change: dict[str, object], message: str) -> None:
    given: dict[str, Any] = {"of": "c", "levels": (1,), "phases": 1, "stages": (1,), "items": 1, "tokens": 4}
    with pytest.raises(UserError, match=message):
        Design(**(given | change))
