"""Forms in which articles (documents with questions about them) are given to a stream of online adaptation.

| form        | kind        | document                                           | for                             |
|-------------|-------------|----------------------------------------------------|---------------------------------|
| `articles`  | reading     | the text; its questions are measured without it    | the documents to adapt on       |
| `questions` | instruction | each question with its answer                      | the form of answers (QA-tune)   |
| `open_book` | instruction | each question behind its document, with its answer | to answer from a text before it |

Give disjoint parts of a set to tasks of different forms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal, get_args

from cl.errors import UserError
from cl.tasks.article import Article
from cl.tasks.documents import Document

Form = Literal["articles", "questions", "open_book"]


def require_form(form: str) -> None:
    """Raises UserError for an unknown form."""
    if form not in get_args(Form):
        raise UserError(f"form: {form!r} is none of {', '.join(get_args(Form))}")


def in_form(articles: Iterable[Article], form: Form) -> Iterator[Document]:
    """Yield articles in a form.

    Args:
        articles: the articles.
        form: see the table of this module.
    """
    for article in articles:
        if form == "articles":
            yield article
        for asked in article.questions if form != "articles" else ():
            before = f"{article.text}\n\n" if form == "open_book" else ""
            yield replace(asked, question=before + asked.question)
