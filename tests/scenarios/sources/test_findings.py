"""Medical findings, as documents and as questions on the same ones."""

from __future__ import annotations

import pytest

from cl.errors import UserError
from cl.tasks.example import Example
from scenarios.sources.findings import Findings
from scenarios.sources.packaged import Packaged


@pytest.fixture(autouse=True)
def corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve findings and an entry that nothing defines, in place of the package."""
    entries = [f"Finding {i}\nWhat defines {i}." for i in range(12)]
    monkeypatch.setattr(Packaged, "documents", lambda self: iter(["\n\n".join(["Bare", *entries])]))


def test_documents_are_of_five_findings_each() -> None:
    found = [str(document) for document in Findings("documents", terms=8).documents()]
    assert [document.count("What defines") for document in found] == [5, 3]
    assert found[0].startswith("Finding 0\nWhat defines 0.\n\nFinding 1\n")


def test_a_question_gives_the_definition_and_four_names() -> None:
    found = list(Findings("questions", terms=8).documents())
    assert found == list(Findings("questions", terms=8).documents())
    for i, example in enumerate(found):
        assert isinstance(example, Example)
        assert example.question.startswith(f"What defines {i}.\n")
        assert example.answer == f"Finding {i}"
        assert example.answer in example.options
        assert len(set(example.options)) == 4


def test_too_few_findings_are_refused() -> None:
    with pytest.raises(UserError, match="terms: 7 leaves nothing to choose from"):
        Findings("questions", terms=7)
