from __future__ import annotations

import math
from typing import Any

import pytest

from cl.tasks.example import Example
from cl.tasks.splitting import Shares, overlap, split_texts

SHARES = Shares(validation=0.1, test=0.2, seed=0)
WORDS = [f"document number {index} says {index * 7}" for index in range(1000)]


def test_each_document_is_in_one_split_in_about_its_share() -> None:
    found = split_texts([(WORDS, None)], SHARES, None, measured_only=False)
    assert sorted(map(str, found.train + found.validation + found.test)) == sorted(WORDS)
    for part, share in ((found.train, 0.7), (found.validation, 0.1), (found.test, 0.2)):
        assert abs(len(part) - 1000 * share) < 4 * math.sqrt(1000 * share * (1 - share))
    assert found.train != sorted(found.train, key=[*WORDS].index)  # shuffled


def test_the_split_depends_on_the_text_alone() -> None:
    together = split_texts([(WORDS, None)], SHARES, None, measured_only=False)
    apart = split_texts([(WORDS[:300][::-1], None)], SHARES, None, measured_only=False)
    assert set(apart.test) == set(together.test) & set(WORDS[:300])
    assert apart.train == [text for text in together.train if text in set(WORDS[:300])]
    other_seed = split_texts([(WORDS, None)], Shares(0.1, 0.2, seed=1), None, measured_only=False)
    assert set(other_seed.test) != set(together.test)


def test_duplicates_and_empty_documents_are_dropped_and_counted() -> None:
    texts = ["One  text", "one text", " ONE\n\ttext ", "another", " \n", ""]
    found = split_texts([(texts, None), (["another"], None)], SHARES, None, measured_only=False)
    assert sorted(map(str, found.train + found.validation + found.test)) == ["One  text", "another"]
    assert (found.report.seen, found.report.empty, found.report.duplicates) == (7, 2, 3)


def test_limits_count_bytes_and_a_larger_one_keeps_the_smaller_ones_documents() -> None:
    umlauts = [f"{index:03} äöü" for index in range(100)]  # 10 bytes each, 7 characters

    def kept(own: int | None, limit: int | None) -> set[str]:
        found = split_texts([(umlauts, own), (WORDS, 0)], SHARES, limit, measured_only=False)
        return {*found.train, *found.validation, *found.test}

    assert [len(kept(own, limit)) for own, limit in ((None, None), (300, None), (None, 309), (200, 300))] == [
        100, 30, 30, 20,
    ]  # fmt: skip
    assert kept(200, None) < kept(300, None) == kept(None, 300)


def test_a_measured_set_never_trains_and_its_limit_counts_what_is_measured() -> None:
    everything = split_texts([(WORDS, None)], SHARES, None, measured_only=False)
    measured = split_texts([(WORDS, None)], SHARES, None, measured_only=True)
    assert measured.train == []
    assert (measured.validation, measured.test) == (everything.validation, everything.test)
    assert measured.report.overlap is None
    capped = split_texts([(WORDS, None)], SHARES, 2000, measured_only=True)
    assert 1900 < sum(capped.report.bytes.values()) <= 2000


def test_report_counts_documents_and_utf8_bytes() -> None:
    report = split_texts([(["äöü", "abc", "abcd"], None)], SHARES, None, measured_only=False).report
    assert sum(report.documents.values()) == 3
    assert sum(report.bytes.values()) == 6 + 3 + 4


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        (["a b c d e f g h"], ["a b c d e f g h"], 1.0),
        (["x A B C D E F G H y"], ["a b c d e f g h"], 1.0),
        (["a b c d e f g h"], ["a b c d e f g h i"], 0.5),
        (["a b c d e f g x"], ["a b c d e f g h"], 0.0),
        (["a b c d", "e f g h"], ["a b c d e f g h"], 0.0),  # no shingle runs over the end of a document
        (["a b c d e f g h"], ["too short"], None),
        ([], ["a b c d e f g h"], None),
    ],
)
def test_overlap_by_hand(train: list[str], test: list[str], expected: float | None) -> None:
    assert overlap(train, test) == expected


def official(name: str, split: Any) -> Example:
    return Example(name, "yes", "phrase", split=split)


def test_a_benchmark_s_own_test_holds_and_is_dropped_from_its_training() -> None:
    trained = [official(f"question {i}", "train") for i in range(200)]
    tested = [official(f"Question  {i}", "test") for i in range(20)]  # the same, written otherwise
    found = split_texts([([*trained, *tested], None)], Shares(0.2, 0.3, 0), None, False)
    assert {e.question for e in found.test if isinstance(e, Example)} == {e.question for e in tested}
    assert found.report.held_out == 20
    assert len(found.train) + len(found.validation) == 180
    assert 15 < len(found.validation) < 60  # carved out of training: about a fifth


def test_a_benchmark_s_own_validation_is_not_carved_again() -> None:
    examples = [official(f"q{i}", ("train", "validation", "test")[i % 3]) for i in range(90)]
    found = split_texts([(examples, None)], Shares(0.2, 0.3, 0), None, False)
    assert [len(part) for part in (found.train, found.validation, found.test)] == [30, 30, 30]


def test_one_question_is_never_in_two_splits_whatever_its_answers() -> None:
    examples = [Example(f"q{i % 50}", str(i), "number") for i in range(100)]
    found = split_texts([(examples, None)], Shares(0.2, 0.3, 0), None, False)
    assert found.report.duplicates == 50
