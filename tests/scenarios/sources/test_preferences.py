"""Preferences made of instructions: worse in content, in form, or in both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scenarios.sources.preferences import Preferences
from tests.support.mixture import write_mixture


def test_preferences_are_wrong_in_content_or_form(tmp_path: Path) -> None:
    write_mixture(tmp_path)
    of = {"source": "examples", "path": "copy.jsonl"}
    for rejected in ("content", "form", "both"):
        found = list(Preferences(of, rejected, folder=str(tmp_path)).documents())
        wrapped = [one.answer in str(one.rejected) and one.answer != one.rejected for one in found]
        share = sum(wrapped) / len(wrapped)
        assert share == {"content": 0.0, "form": 1.0}.get(rejected, pytest.approx(0.5, abs=0.1))
        assert all(one.rejected != one.answer for one in found)
    assert found == list(Preferences(of, "both", folder=str(tmp_path)).documents())


def test_preferences_of_one_answer_are_wrapped(tmp_path: Path) -> None:
    lines = [json.dumps({"question": f"q{i}", "answer": "Yes"}) for i in range(4)]
    (tmp_path / "same.jsonl").write_text("\n".join(lines))
    of = {"source": "examples", "path": "same.jsonl"}
    found = list(Preferences(of, "content", folder=str(tmp_path)).documents())
    assert all("Yes" in str(one.rejected) for one in found)
