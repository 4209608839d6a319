"""The forms of articles."""

from __future__ import annotations

import pytest

from cl.errors import UserError
from cl.tasks.article import Article
from cl.tasks.example import Example
from scenarios.sources.reading import in_form, require_form


def test_forms() -> None:
    asked = Example("Who?", "Ada", "phrase")
    article = Article("Ada wrote.", (asked,))
    assert list(in_form([article], "articles")) == [article]
    assert list(in_form([article], "questions")) == [asked]
    assert list(in_form([article], "open_book")) == [Example("Ada wrote.\n\nWho?", "Ada", "phrase")]
    with pytest.raises(UserError, match="form: 'book' is none of articles, questions, open_book"):
        require_form("book")
