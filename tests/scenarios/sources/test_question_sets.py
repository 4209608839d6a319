"""Public sets of documents with questions, in the forms in which they are published."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cl.errors import UserError
from cl.tasks.article import Article
from scenarios.sources.question_sets import SQUAD_PARTS, QuestionSets

SQUAD = {
    "version": "1.1",
    "data": [
        {
            "title": "Rivers",
            "paragraphs": [
                {
                    "context": "The Rhine flows north.",
                    "qas": [
                        {
                            "id": "1",
                            "question": " Which river? ",
                            "answers": [{"text": "The Rhine"}, {"text": "Rhine"}],
                        },
                        {"id": "2", "question": "Whither?", "answers": [{"text": "north", "answer_start": 16}]},
                    ],
                },
                {
                    "context": "The Danube flows east.",
                    "qas": [
                        {"id": "3", "question": "Where?", "answers": [{"text": "east"}]},
                        {"id": "4", "question": "Why?", "answers": [], "is_impossible": True},
                    ],
                },
            ],
        }
    ],
}


def read(folder: Path, of: Any = "squad", path: str = "set.json", **settings: Any) -> list[Article]:
    found = QuestionSets(of, path, "articles", folder=str(folder), **settings).documents()
    return [article for article in found if isinstance(article, Article)]


def pairs(articles: list[Article]) -> list[tuple[str, list[tuple[str, str, tuple[str, ...]]]]]:
    return [(each.text, [(q.question, q.answer, q.accepted) for q in each.questions]) for each in articles]


WANTED = [
    ("The Rhine flows north.", [("Which river?", "Rhine", ("The Rhine",)), ("Whither?", "North", ())]),
    ("The Danube flows east.", [("Where?", "East", ())]),
]


def test_squad_as_published(tmp_path: Path) -> None:
    (tmp_path / "set.json").write_text(json.dumps(SQUAD))
    assert pairs(read(tmp_path)) == WANTED


def test_squad_as_the_hubs_rows(tmp_path: Path) -> None:
    rows = [
        {"context": p["context"], "question": q["question"], "answers": {"text": [a["text"] for a in q["answers"]]}}
        for p in SQUAD["data"][0]["paragraphs"]  # type: ignore[index]
        for q in p["qas"]
    ]
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert pairs(read(tmp_path, path="set.jsonl")) == WANTED


def test_streamingqa_and_archivalqa_are_tables_of_questions(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text('id,question,answers,text\n1,Who?,Ada Lovelace\\Ada,"Ada, who wrote."\n')
    assert pairs(read(tmp_path, "streamingqa", "s.csv")) == [("Ada, who wrote.", [("Who?", "Ada", ("Ada Lovelace",))])]
    (tmp_path / "a.csv").write_text("doc_id,para_num,question,answer,ans_paragraph\n1,0,When?,in May,It was in May.\n")
    assert pairs(read(tmp_path, "archivalqa", "a.csv")) == [("It was in May.", [("When?", "In May", ())])]


def test_a_document_is_in_the_range_of_its_first_question(tmp_path: Path) -> None:
    (tmp_path / "set.json").write_text(json.dumps(SQUAD))
    assert pairs(read(tmp_path, last=1)) == WANTED[:1]  # with its second question, outside of the range
    assert pairs(read(tmp_path, first=1)) == WANTED[1:]
    assert QuestionSets("squad", "set.json", "articles", part="qa_tune", folder=str(tmp_path)).range == (0, 40006)
    ranges = list(SQUAD_PARTS.values())
    assert all(one[1] == other[0] for one, other in pairwise(ranges))
    assert (ranges[0][0], ranges[-1][1]) == (0, 87599)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"of": "trivia"}, "of: 'trivia' is none of squad, streamingqa, archivalqa"),
        ({"part": "tune"}, "part: 'tune' is one of qa_tune, qa_validation, meta_train, meta_validation of squad"),
        ({"part": "qa_tune", "last": 3}, "without first and last"),
        ({"first": 3, "last": 3}, "first, last: 3, 3 are no range of questions"),
        ({"first": 9}, "first, last: squad has 4 questions, none of them there"),
        ({"path": "none.json"}, "path: there is no file"),
        ({"path": "bad.json"}, "path: .*bad.json is not in SQuAD's form: KeyError.'paragraphs'.; give the published"),
        ({"of": "archivalqa", "path": "bad.csv"}, r"bad.csv, row 1: there is no column 'ans_paragraph'"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    (tmp_path / "set.json").write_text(json.dumps(SQUAD))
    (tmp_path / "bad.json").write_text('{"data": [{"title": "x"}]}')
    (tmp_path / "bad.csv").write_text("question,answer\nWho?,Ada\n")
    with pytest.raises(UserError, match=message):
        read(tmp_path, **settings)


def test_the_fingerprint_follows_the_files_and_the_settings(tmp_path: Path) -> None:
    (tmp_path / "set.json").write_text(json.dumps(SQUAD))
    prints = {QuestionSets("squad", "set.json", "articles", last=n, folder=str(tmp_path)).fingerprint() for n in (1, 2)}
    (tmp_path / "set.json").write_text(json.dumps(SQUAD | {"version": "2"}))
    prints.add(QuestionSets("squad", "set.json", "articles", last=1, folder=str(tmp_path)).fingerprint())
    assert len(prints) == 3
