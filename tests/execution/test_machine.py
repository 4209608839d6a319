"""The machine that computes: what is recorded of it."""

from __future__ import annotations

import re

import pytest

from cl.execution import machine


def test_a_processor_is_named_with_the_number_of_its_cores() -> None:
    assert re.fullmatch(r".+ x [1-9]\d*", machine.processor())


def test_the_record_says_with_how_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert machine.record() == {"processor": machine.processor(), "threads": "3"}
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert machine.record()["threads"] == "default"


def test_memory_is_left_alone_where_the_system_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert machine.keep_freed_memory() is False
