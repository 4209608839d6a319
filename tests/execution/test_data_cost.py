"""Seconds of nodes that read sources, by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cl.execution import calibration, data_cost
from cl.execution.data_cost import DataCost, sizes
from cl.graph.node import Node
from cl.graph.specs import BaseSpec, DataSpec, TokenizerSpec
from cl.steps import tokenizer
from cl.tasks.scenario import Part, Scenario, Task


class Sized:
    """A source that says its size and yields nothing."""

    licence = about = ""

    def __init__(self, size: int) -> None:
        self._size = size

    def size(self) -> int:
        return self._size

    def documents(self) -> Any:
        return iter(())

    def fingerprint(self) -> str:
        return ""


class Unsized:
    licence = about = ""

    def documents(self) -> Any:
        return iter(())

    def fingerprint(self) -> str:
        return ""


MB = 1_000_000
BIG = Task("big", (Part(Sized(400 * MB)),))
CAPPED = Task("capped", (Part(Sized(400 * MB), 90 * MB), Part(Sized(30 * MB)), Part(Unsized())), limit=100 * MB)
KEPT = Task("kept", (Part(Sized(400 * MB)),))
SMALL = Task("small", (Part(Sized(9000)),))
DEFINED = Scenario("s", 1, "", {"big": BIG, "capped": CAPPED, "small": SMALL}, {"kept": KEPT}, 0.02, 0.03, 0)


def record(size: int, seconds: float, created: str, kind: str = "text") -> Any:
    result = {"kind": kind, "report": {"bytes": {"train": size - 9, "test": 9}}, "seconds_in_all": seconds}
    return SimpleNamespace(identity={"kind": "data"}, result=result, created=created)


def seconds(spec: Any, *records: Any) -> float:
    return DataCost(DEFINED, records).seconds(Node("n", spec))


def test_bytes_that_are_read_and_bytes_that_limits_leave() -> None:
    assert sizes(BIG) == (400 * MB, 400 * MB)
    assert sizes(CAPPED) == (430 * MB, 100 * MB)
    assert sizes(Task("none", (Part(Unsized()),))) == (0, 0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("big", 400 / 20 + 50 / 10 + 400 / 1.5),
        ("capped", 430 / 20 + 50 / 10 + 100 / 1.5),
        ("kept", 400 / 20 + 20 / 10 + 20 / 1.5),  # a twentieth is measured
        ("small", pytest.approx(0, abs=0.01)),
    ],
)
def test_seconds_of_a_data_node(name: str, expected: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "encoding", lambda: 1.5 * MB)
    assert seconds(DataSpec(name, "content")) == pytest.approx(expected, abs=0.01)


def test_the_newest_large_text_tells_the_speed() -> None:
    old, new = record(90 * MB, 500.0, "2026-01-01"), record(100 * MB, 60.0, "2026-01-02")
    others = [record(9000, 1.0, "2026-01-03"), record(90 * MB, 1.0, "2026-01-03", kind="instruction")]
    expected = 400 / 20 + 5 + 400 * (60 - 100 / 20 - 5) / 100
    assert seconds(DataSpec("big", "content"), new, old, *others) == pytest.approx(expected)


def test_a_small_text_needs_no_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "encoding", lambda: pytest.fail("measured"))
    assert seconds(DataSpec("small", "content")) < 0.01


def test_a_tokenizer_reads_all_and_is_trained_on_a_part() -> None:
    assert data_cost.TRAINED == tokenizer.TRAINING_BYTES
    spec = TokenizerSpec({"big": "content", "small": "content"}, vocabulary=300)
    assert seconds(spec) == pytest.approx(400 / 20 + 50 / 10 + 8 / 2, abs=0.01)
    assert seconds(BaseSpec({}, 0, 8)) == 0.0


def test_files_say_their_size(tmp_path: Path) -> None:
    from scenarios.sources.files import Files

    for name in ("a.jsonl", "b.jsonl.gz", "c.parquet"):
        (tmp_path / name).write_bytes(b"x" * 100)
    assert Files(".", column="text", folder=str(tmp_path)).size() == 100 + 300 + 200
