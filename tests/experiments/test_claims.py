"""Verdicts of the experiments on figures by hand."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pairs
import pytest
import remembers
import retrieval
import traps
from intervals import Interval, above, listed, mean_of

from cl.metrics.records import Inside, RunResult
from cl.metrics.roc import NORMAL_95
from tests.support.results import one_run


def run(probes: dict[str, Any], **more: Any) -> RunResult:
    return dataclasses.replace(one_run({}), probes=probes, **more)


def test_a_verdict_needs_the_whole_interval_on_one_side() -> None:
    near = Interval((0.1, 0.2, 0.3))
    assert near.ends == (near.mean - near.half, near.mean + near.half)
    assert [above(near, bound) for bound in (-0.1, 0.1, 0.5)] == ["holds", "not decided", "fails"]
    assert above(Interval((0.3,))) == "not decided"  # one run has no interval
    assert mean_of([near, Interval((0.3, 0.4, 0.5))]).values == pytest.approx((0.2, 0.3, 0.4))
    assert listed([("a", "holds", "1")]) == "- a: **holds** (1)\n"


def areas(ratios: dict[int, tuple[float, float]], loss: float = 0.5, context: float = 0.0) -> RunResult:
    """A run with areas by level: after the task of the insertion, and after the next."""
    rows: dict[int, Any] = {}
    tests: dict[int, Any] = {}
    for row in range(4):
        values = {level: (0.5, 0.5, *both)[row] for level, both in ratios.items()}
        rows[row] = {f"copies {level} stage 2": {"loss": loss, "ratio": value, "null": 0.1 * NORMAL_95}
                     for level, value in values.items()}  # fmt: skip
        tests[row] = {
            f"copies {level} stage 2": {"in_context_ratio": value + context} for level, value in values.items()
        }
        tests[row] |= {f"copies {level} stage 2 bucket {number}": {"ratio": value + 0.1 * number}
                       for level, value in values.items() for number in (1, 2)}  # fmt: skip
    return run({"membership": rows, "traps": tests}, order=["a", "b", "c"])


def test_verdicts_on_traps_by_hand() -> None:
    inserted = [areas({1: (0.5, 0.5), 8: (0.7, 0.6), 32: (0.9 + 0.01 * seed, 0.7)}, context=-0.1) for seed in (0, 1)]
    plain = [areas({1: (0.5, 0.5), 8: (0.5, 0.5), 32: (0.5, 0.66)}) for _ in (0, 1)]
    found = [verdict for _, verdict, _ in traps.verdicts(inserted, plain, [1, 8, 32], 2)]
    assert found == ["holds", "fails", "holds", "holds", "holds", "holds", "fails", "holds"]
    off = [areas({1: (0.5, 0.5), 8: (0.5, 0.5), 32: (0.5, 0.5)}, loss=0.63)] * 4  # SE 0.1 of one run, 0.05 of four
    assert traps.chance(off, [1], [0], ["loss"])[0] == "fails"
    assert traps.chance(off[:1], [1], [0], ["loss"]) == ("holds", "0 of 1 beyond, largest distance 0.13")


def test_verdicts_on_pairs_by_hand() -> None:
    def shares(*by_row: dict[int, float]) -> list[RunResult]:
        rows = {row: {"copies 0" if level == 0 else f"copies {level} phase 1":
                      {"preferred": value, "gained": value - 0.5, "null": 0.1 * NORMAL_95}
                      for level, value in found.items()} for row, found in enumerate(by_row)}  # fmt: skip
        return [run({"pair_preference": rows}) for _ in range(4)]

    chance = dict.fromkeys((0, 1, 4, 16), 0.5)
    inserted = shares(chance, chance | {4: 0.7, 16: 0.9}, chance | {16: 0.6})
    plain = shares(chance, chance, chance)
    assert [verdict for _, verdict, _ in pairs.verdicts(inserted, plain, [1, 4, 16])] == ["holds"] * 6
    off = shares(chance, chance, chance | {4: 0.61})  # SE 0.1 of one run, 0.05 of four
    found = [verdict for _, verdict, _ in pairs.verdicts(plain, off, [1, 4, 16])]
    assert found == ["fails", *["not decided"] * 5]


def order(context: float, memory: float, nll: tuple[float, float] = (0.5, 0.5)) -> RunResult:
    keys = {f"{key}{end}": 0.5 for key in remembers.SORT for end in ("", "_unseen")}
    after = keys | {
        "sort_in_context": context,
        "sort_from_memory": memory,
        "sort_nll": nll[0],
        "sort_nll_unseen": nll[1],
    }
    return run({"segment_order": {0: {"news": keys}, 1: {"news": after}}}, order=["news"])


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (order(0.8, 0.55), ["holds", "holds", "not decided"]),
        (order(0.9, 0.65), ["holds", "fails", "not decided"]),
        (order(0.5, 0.5), ["not decided", "not decided", "not decided"]),  # answers A to everything
        (order(0.3, 0.5, (0.7, 0.5)), ["fails", "not decided", "holds"]),
    ],
)
def test_verdicts_on_the_order_of_segments_by_hand(run: RunResult, expected: list[str]) -> None:
    assert [verdict for _, verdict, _ in remembers.of_order([run], "news", 1, 100)] == expected


def test_verdicts_on_groups_of_tokens_by_hand() -> None:
    before, learned = (
        dict.fromkeys(remembers.GROUPS, 8.0),
        dict(zip(remembers.GROUPS, (5.0, 4.0, 6.0, 3.0), strict=True)),
    )
    lost = dict(zip(remembers.GROUPS, (7.0, 5.0, 9.0, 4.0), strict=True))
    rows = {row: {"english": found} for row, found in enumerate((before, learned, lost))}
    halfway = dict(zip(remembers.GROUPS, (8.0, 4.0, 8.0, 3.0), strict=True))
    inside = [Inside("function_tokens", 1, 5, {"english": halfway}),
              Inside("function_tokens", 2, 5, {"english": learned}),
              Inside("function_tokens", 1, None, {"english": learned})]  # fmt: skip
    runs = [run({"function_tokens": rows}, inside=inside) for _ in (0, 1)]
    assert [verdict for _, verdict, _ in remembers.of_groups(runs)] == ["holds", "holds"]
    assert remembers.progress(runs[0], "english", 1, "content_to_function") == {5: 1.0}
    assert remembers.progress(runs[0], "english", 2, "content_to_content") == {5: 0.0}
    assert [verdict for _, verdict, _ in remembers.of_speed(runs)] == ["holds", "not decided"]


def test_a_strategy_is_better_if_it_wins_more_questions_than_chance_would() -> None:
    verdict, figures = retrieval.better([True] * 6 + [False], [False] * 7)
    assert (verdict, figures) == ("holds", "0.86 against 0.00, 6 won and 0 lost, p = 0.031")
    assert retrieval.better([False] * 7, [True] * 6 + [False])[0] == "fails"
    assert retrieval.better([True] * 5, [False] * 5)[0] == "not decided"  # p = 1/16
    assert retrieval.better([True], [True])[0] == "not decided"


def test_verdicts_on_retrieval_and_interference_by_hand() -> None:
    def of(*rows: str) -> RunResult:
        answers = {row: {"english": {"strict": marks}, "german": {"strict": marks}} for row, marks in enumerate(rows)}
        return dataclasses.replace(one_run({}), answers=answers)

    nothing, everything = "0" * 8, "1" * 8
    runs = {"lora_sequential": of(nothing, everything, nothing), "retrieval_bm25": of(nothing, everything, everything),
            "bm25_frozen": of(nothing, everything, everything), "retrieval_random": of(nothing, nothing, nothing),
            "retrieval_in_context": of(nothing, nothing, everything),
            "retrieval_dense": of(nothing, nothing, nothing)}  # fmt: skip
    assert [verdict for _, verdict, _ in retrieval.of_scores(runs)] == [
        "holds",
        "holds",
        "holds",
        "not decided",
        "fails",
    ]
    assert [verdict for _, verdict, _ in retrieval.of_interference(runs)] == ["not decided", "holds", "holds"]


def test_verdicts_on_extraction_by_hand() -> None:
    def rows(*found: tuple[float, float]) -> dict[int, Any]:
        each = [{"extracted": train - held, "train": train, "held_out": held} for train, held in found]
        return {row: dict.fromkeys(("english", "german"), shares) for row, shares in enumerate(each)}

    made = run({"template_extraction": rows((0.0, 0.0), (0.5, 0.1), (0.1, 0.1))})
    assert [verdict for _, verdict, _ in retrieval.of_extraction(made, 100)] == ["holds", "holds", "holds"]
    nothing = run({"template_extraction": rows((0.1, 0.1), (0.1, 0.1), (0.1, 0.1))})
    assert [verdict for _, verdict, _ in retrieval.of_extraction(nothing, 100)] == [
        "fails",
        "not decided",
        "not decided",
    ]
    assert math.isclose(made.probes["template_extraction"][1]["english"]["extracted"], 0.4)
