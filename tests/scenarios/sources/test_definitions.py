"""Definitions of findings as articles: the rule by hand, and parts that share no term."""

from __future__ import annotations

from typing import Any

import pytest

from cl.errors import UserError
from cl.tasks.article import Article
from cl.tasks.example import Example
from scenarios.sources.definitions import Definitions, article_of, place_of, terms_of

OBO = """format-version: 1.2

[Term]
id: HP:1
name: Short thumb
def: "A thumb that is \\"short\\"." [x]
synonym: "Brachydactyly of thumb" EXACT []
synonym: "short thumb" EXACT layperson []
synonym: "Little thumb" RELATED []
synonym: "Stub thumb" EXACT []
is_a: HP:2 ! Abnormal thumb
is_a: HP:3 ! Short digit

[Term]
id: HP:4
name: Old
def: "Gone." []
is_obsolete: true

[Term]
id: HP:5
name: All
def: "Root." []

[Typedef]
id: part_of
name: part of
"""


def test_an_article_is_made_of_the_fields_of_a_term() -> None:
    thumb, root = terms_of(OBO)
    article = article_of(thumb)
    assert article is not None
    assert article.text == (
        'Short thumb: A thumb that is "short". Synonyms: Brachydactyly of thumb; Stub thumb. '
        "Broader: Abnormal thumb; Short digit."
    )
    assert [(e.question, e.answer, e.accepted) for e in article.questions] == [
        ("What else is Short thumb called?", "Brachydactyly of thumb", ("Stub thumb",)),
        ("Which finding is broader than Short thumb?", "Abnormal thumb", ("Short digit",)),
    ]
    assert article_of(root) is None


def test_parts_share_no_term() -> None:
    parts = [list(Definitions("articles", (a, b), 40).documents()) for a, b in ((0.0, 0.3), (0.3, 0.6))]
    texts = [[str(article) for article in part] for part in parts]
    assert [len(part) for part in texts] == [40, 40]
    assert not set(texts[0]) & set(texts[1])
    assert all(0 <= place_of(text) < 0.3 for text in texts[0])
    assert texts[0][:20] == [str(each) for each in Definitions("articles", (0.0, 0.2), 20).documents()]
    (first, *_), (asked, *_), (opened, *_) = (
        list(Definitions(form, (0.0, 0.3), 40).documents()) for form in ("articles", "questions", "open_book")
    )
    assert isinstance(first, Article)
    assert isinstance(asked, Example)
    assert isinstance(opened, Example)
    assert asked == first.questions[0]
    assert (opened.question, opened.answer) == (f"{first.text}\n\n{asked.question}", asked.answer)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"form": "pages"}, "form: 'pages' is none of articles, questions, open_book"),
        ({"part": (0.5, 0.5)}, r"part: \[0.5, 0.5\] must be two numbers between 0 and 1, the smaller one first"),
        ({"terms": 0}, "terms, longest: 0, 400 must be at least 1"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Definitions(**{"form": "articles", **settings})


def test_a_part_that_is_too_small_is_told() -> None:
    with pytest.raises(UserError, match=r"terms: the part \[0.0, 0.001\] has \d+ terms; widen it"):
        list(Definitions("articles", (0.0, 0.001), 500).documents())
