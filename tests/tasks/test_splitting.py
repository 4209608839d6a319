from __future__ import annotations

import math
import random
from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cl.tasks.documents import Document
from cl.tasks.example import Example
from cl.tasks.placement import ORDER
from cl.tasks.splitting import Report, Shares, _chance, _digest, split_texts, stated, text_of

SHARES = Shares(validation=0.1, test=0.2, seed=0)
WORDS = [f"document number {index} says {index * 7}" for index in range(1000)]


def test_each_document_is_in_one_split_in_about_its_share() -> None:
    found = split_texts([(WORDS, None)], SHARES, None, measured_only=False)
    assert sorted(map(str, [*found.train, *found.validation, *found.test])) == sorted(WORDS)
    for part, share in ((found.train, 0.7), (found.validation, 0.1), (found.test, 0.2)):
        assert abs(len(part) - 1000 * share) < 4 * math.sqrt(1000 * share * (1 - share))
    assert [*found.train] != sorted(found.train, key=[*WORDS].index)  # shuffled


def test_the_split_depends_on_the_text_alone() -> None:
    together = split_texts([(WORDS, None)], SHARES, None, measured_only=False)
    apart = split_texts([(WORDS[:300][::-1], None)], SHARES, None, measured_only=False)
    assert set(apart.test) == set(together.test) & set(WORDS[:300])
    assert [*apart.train] == [text for text in together.train if text in set(WORDS[:300])]
    other_seed = split_texts([(WORDS, None)], Shares(0.1, 0.2, seed=1), None, measured_only=False)
    assert set(other_seed.test) != set(together.test)


def test_duplicates_and_empty_documents_are_dropped_and_counted() -> None:
    texts = ["One  text", "one text", " ONE\n\ttext ", "another", " \n", ""]
    found = split_texts([(texts, None), (["another"], None)], SHARES, None, measured_only=False)
    assert sorted(map(str, [*found.train, *found.validation, *found.test])) == ["One  text", "another"]
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
    assert len(measured.train) == 0
    assert [*measured.validation] == [*everything.validation]
    assert [*measured.test] == [*everything.test]
    assert measured.report.overlap is None
    capped = split_texts([(WORDS, None)], SHARES, 2000, measured_only=True)
    assert 1900 < sum(capped.report.bytes.values()) <= 2000


def test_report_counts_documents_and_utf8_bytes() -> None:
    report = split_texts([(["äöü", "abc", "abcd"], None)], SHARES, None, measured_only=False).report
    assert sum(report.documents.values()) == 3
    assert sum(report.bytes.values()) == 6 + 3 + 4


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


Row = tuple[bytes, str, int, Document]  # rank, split, size


def in_memory(
    streams: list[tuple[list[Document], int | None]], limit: int | None, measured_only: bool, elsewhere: dict[str, str]
) -> tuple[dict[str, list[Document]], tuple[int, int, int]]:
    """The same splits from lists and sets, document by document."""
    held = elsewhere | stated(each for documents, _ in streams for each in documents)
    held |= {text: min(split, held[text], key=ORDER.index) for text, split in elsewhere.items()}
    known, kept, counts = set[bytes](), list[Row](), [0, 0, 0]
    for documents, own in streams:
        fresh = []
        for document, split in placed(documents):
            words = text_of(document).casefold().split()
            digest = _digest(words, SHARES)
            chance = _chance(digest)
            drawn = (
                "test"
                if chance < SHARES.test
                else "validation"
                if chance < SHARES.test + SHARES.validation
                else "train"
            )
            name, rank = split or drawn, digest[8:]
            if not words:
                counts[0] += 1
            elif ORDER.index(held.get(" ".join(words), "train")) < ORDER.index(name):
                counts[2] += 1
                continue
            elif rank in known:
                counts[1] += 1
            elif not (measured_only and name == "train"):
                fresh.append((rank, name, len(str(document).encode()), document))
            known.add(rank)
        kept += capped(fresh, own)
    found: dict[str, list[Document]] = {name: [] for name in ORDER}
    for _, name, _, document in capped(kept, limit):
        found[name].append(document)
    return found, (counts[0], counts[1], counts[2])


def placed(documents: Iterable[Document]) -> list[tuple[Document, str | None]]:
    examples = [each for each in documents if isinstance(each, Example) and each.split is not None]
    others: list[tuple[Document, str | None]] = [(each, None) for each in documents if each not in examples]
    validated = any(each.split == "validation" for each in examples)
    for each in sorted(examples, key=lambda each: ORDER.index(str(each.split))):
        carve = each.split == "train" and not validated
        carve = carve and _chance(_digest(each.start.casefold().split(), SHARES)) < SHARES.validation
        others.append((each, "validation" if carve else each.split))
    return others


def capped(
    documents: list[tuple[bytes, str, int, Document]], limit: int | None
) -> list[tuple[bytes, str, int, Document]]:
    total, kept = 0, []
    for each in sorted(documents, key=lambda each: each[0]):
        total += each[2]
        if limit is not None and total > limit:
            break
        kept.append(each)
    return kept


@given(st.integers(0, 10**6), st.booleans(), st.booleans())
def test_records_and_a_file_decide_as_lists_in_memory(seed: int, measured_only: bool, asks: bool) -> None:
    draw = random.Random(seed)
    limits = [None, 0, 100, 400]

    def document() -> Document:
        text = draw.choice(["", " ", "ä", "A  b"]) + str(draw.randint(0, 30))
        split: Any = draw.choice([None, *ORDER])
        return Example(text, "x", "phrase", split=split) if asks else text

    streams = [([document() for _ in range(draw.randint(0, 40))], draw.choice(limits)) for _ in range(3)]
    limit = draw.choice(limits)
    elsewhere = {str(number): draw.choice(["test", "validation"]) for number in range(9)} if asks else {}
    expected, (empty, duplicates, held_out) = in_memory(streams, limit, measured_only, elsewhere)
    found = split_texts(streams, SHARES, limit, measured_only, elsewhere)
    assert {name: [*getattr(found, name)] for name in ORDER} == expected
    report: Report = found.report
    assert (report.empty, report.duplicates, report.held_out) == (empty, duplicates, held_out)
    assert report.documents == {name: len(part) for name, part in expected.items()}
    assert report.bytes == {name: sum(len(str(each).encode()) for each in part) for name, part in expected.items()}
