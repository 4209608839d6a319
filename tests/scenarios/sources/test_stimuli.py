"""Passages to study and their twins: the six kinds of stimuli."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cl.errors import UserError
from cl.tasks.passage import Passage
from scenarios.sources import stimuli
from scenarios.sources.packaged import Packaged
from scenarios.sources.stimuli import LIST, Stimuli, changed, is_sentence, sentences_of, words_of

STUDY = Path(__file__).parents[4] / "shared" / "data" / "few_shot_memory"


@pytest.fixture(autouse=True)
def corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty sentences with a word that has a synonym, in place of the package."""
    ends = ("aro", "eno", "ilo", "omo", "uso", "ato", "ero", "imo", "olo", "uto")
    names = [f"{start}{end}" for start in "bdfgkl" for end in ends]
    pairs = zip(names, names[1:] + names[:1], strict=True)
    text = " ".join(f"The big {one} went to the {other} over there." for one, other in pairs)
    monkeypatch.setattr(Packaged, "documents", lambda self: iter([text]))


def made(form: Any, **settings: Any) -> list[Passage]:
    return list(Stimuli(form, **{"items": 10, **settings}).documents())


def test_sentences_end_where_sentences_end() -> None:
    text = "My right hon. Friend the Member has spoken of it twice today. No. "
    text += "It is what Mr. Smith has told us all before! So it goes"
    assert sentences_of([text]) == [
        "My right hon. Friend the Member has spoken of it twice today.",
        "It is what Mr. Smith has told us all before!",
    ]
    assert words_of(["The cat saw a Cat, the cat-fish and x2y"]) == ["and", "cat", "fish", "saw", "the"]


def test_sentences_and_their_twins_are_all_different_and_so_are_draws() -> None:
    first, second = made("sentences"), made("sentences", draw=1)
    assert made("sentences") == first
    texts = [text for passage in (*first, *second) for text in (passage.text, passage.twin)]
    assert len(set(texts)) == 40
    assert all(map(is_sentence, texts))


def test_one_word_is_changed() -> None:
    for passage in made("synonyms"):
        words, others = passage.text.split(), passage.twin.split()
        assert [(one, other) for one, other in zip(words, others, strict=True) if one != other] == [("big", "large")]
    assert changed("Nothing here has one") is None


def test_lists_are_of_words_of_the_corpus_and_gibberish_of_the_letters_of_its_twin() -> None:
    known = set(words_of(list(Packaged("hpo").documents())))
    for passage in made("words"):
        assert len(passage.text.split()) == len(passage.twin.split()) == LIST
        assert {*passage.text.split(), *passage.twin.split()} <= known
    assert all(is_sentence(passage.twin) and len(passage.text.split()) == LIST for passage in made("not_prose"))
    for passage in made("gibberish"):
        assert Counter(passage.text.replace(" ", "")) == Counter(passage.twin.replace(" ", ""))
        assert passage.text != passage.twin
    assert sorted(map(sorted, stimuli.shuffled("ab cde", random.Random(0)).split())) == [["a", "b"], ["c", "d", "e"]]


def test_the_user_s_pairs_stand_in_one_file_or_in_two(tmp_path: Path) -> None:
    rows = [{"text": f"studied {i}", "twin": f"not studied {i}"} for i in range(3)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    wanted = [Passage("studied 0", "not studied 0"), Passage("studied 1", "not studied 1")]
    assert made("pairs", path="pairs.jsonl", folder=str(tmp_path), items=2) == wanted
    settings = {"path": "pairs.jsonl", "twins": "pairs.jsonl", "folder": str(tmp_path), "items": 2}
    assert made("pairs", **settings) == wanted


def test_pairs_of_published_tables_are_read_and_chosen(tmp_path: Path) -> None:
    """The forms of MRPC and PAWS: values between tabs, quotation marks as they are."""
    lines = ["Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", '1\t7\t8\tHe said "no".\t"No", he said.', "0\t9\t10\ta\tb",
             "1\t11\t12\tc\td", ""]  # fmt: skip
    (tmp_path / "mrpc.tsv").write_text("\r\n".join(lines), encoding="utf-8-sig")
    named = {"path": "mrpc.tsv", "text": "#1 String", "twin": "#2 String", "folder": str(tmp_path)}
    found = made("pairs", **named, where={"Quality": "1"}, items=2)
    assert found == [Passage('He said "no".', '"No", he said.'), Passage("c", "d")]
    prints = {Stimuli("pairs", items=2, **named, where=where).fingerprint() for where in (None, {"Quality": "1"})}
    assert len(prints) == 2
    with pytest.raises(UserError, match="there is no column 'label'"):
        made("pairs", **named, where={"label": "1"}, items=2)
    (tmp_path / "mrpc.tsv").write_text("a\tb\nx\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 2: 1 values between tabs where the first line has 2 names"):
        made("pairs", path="mrpc.tsv", text="a", twin="b", folder=str(tmp_path), items=1)


@pytest.mark.skipif(not STUDY.is_dir(), reason="the stimuli of the paper are not here")
def test_the_paper_s_own_stimuli_are_read() -> None:
    files = {"path": str(STUDY / "expt3/seen_data_0.json"), "twins": str(STUDY / "expt3/unseen_data_0.json")}
    found = made("pairs", **files, text="sent", twin="sent", items=562)
    assert len(found) == 562
    changes = [sum(a != b for a, b in zip(p.text.split(), p.twin.split(), strict=False)) for p in found[:50]]
    assert min(changes) >= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"form": "sentences", "items": 0}, "items, draw: 0, 0 must be at least 1 and 0"),
        ({"form": "prose"}, "form: 'prose' is none of sentences, pairs"),
        ({"form": "pairs"}, "path: the form `pairs` reads a file"),
        ({"form": "words", "path": "x.jsonl"}, "path: the form `pairs` reads a file"),
        ({"form": "pairs", "path": "x.jsonl"}, "path: there is no file x.jsonl"),
        ({"form": "pairs", "path": "x.jsonl", "draw": 1}, "corpus, draw, twins: a file is read from its first row"),
        ({"form": "words", "twins": "x.jsonl"}, "corpus, draw, twins"),
        ({"form": "words", "where": {"label": "1"}}, "where: chooses rows of one file of pairs; remove it"),
    ],
)
def test_settings_without_effect_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Stimuli(**settings)


def test_too_few_sentences_are_told() -> None:
    with pytest.raises(UserError, match="items: the corpus has 60 sentences that fit; lower items or draw"):
        made("sentences", items=31)
