"""The scores of an answer, one module each."""

from __future__ import annotations

import pytest

from cl import registry
from cl.tasks import answer_scoring, short_answers
from cl.tasks.example import Example

PACKAGE = "cl.tasks.answer_scores"
EXAMPLE = Example("Capital of France?", "Paris", "phrase")


def test_every_module_is_a_score() -> None:
    assert registry.members(PACKAGE) == ("em", "em_cut_to_reference", "f1", "format_ok", "normalised", "strict")


@pytest.mark.parametrize("name", registry.members(PACKAGE))
def test_a_score_is_the_function_of_its_name_as_a_number(name: str) -> None:
    score, of = registry.member(PACKAGE, name, "score"), {"em_cut_to_reference": "em_cut"}.get(name, name)
    expected = getattr(short_answers, of, None) or getattr(answer_scoring, of)
    found = [score(text, EXAMPLE) for text in ("Paris", "the answer is paris.", "word " * 50, "")]
    assert found == [float(expected(text, EXAMPLE)) for text in ("Paris", "the answer is paris.", "word " * 50, "")]
    assert {type(value) for value in found} == {float}
    assert {0.0, 1.0} <= set(found)
    assert registry.member(PACKAGE, name, "KINDS", None) == (("reading",) if hasattr(short_answers, of) else None)
