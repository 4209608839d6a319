"""The certificate: there and back, and its worst set by the lower bound."""

from __future__ import annotations

import dataclasses
import json

import pytest

from cl.metrics.certificate import Certificate, Change

FOUND = Certificate(
    2, "german", {"split": "validation"}, {"promotion": {"margin": 0.1}}, Change(1.0, 0.5, 1.5, 30),
    {"a": Change(-0.3, -0.4, -0.2, 30), "b": Change(-0.1, -0.6, 0.4, 30)}, "rollback", "key", {"candidate": "other"},
)  # fmt: skip


def test_there_and_back() -> None:
    raw = json.loads(json.dumps(dataclasses.asdict(FOUND)))
    assert Certificate.of_json(raw) == FOUND
    with pytest.raises(TypeError, match="unknown"):
        Certificate.of_json({**raw, "unknown": 1})


def test_the_worst_set_is_that_with_the_lowest_lower_bound() -> None:
    assert FOUND.worst == "b"
    assert dataclasses.replace(FOUND, regression={}).worst is None
