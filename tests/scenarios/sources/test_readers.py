from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import pytest

from cl.errors import UserError
from scenarios.sources.readers import READERS


def read(name: str, path: Path) -> list[str]:
    return list(READERS[name]([path]))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def zipped(path: Path, text: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.csv", text)
    return path


def test_speeches_lose_the_blanks_before_punctuation(tmp_path: Path) -> None:
    rows = ['1,"Frau Präsidentin ! Wir _ alle ( auch Sie ) _ danken . ."', '2,"It is. So, ""yes""."']
    path = zipped(tmp_path / "x.zip", "\n".join(["id,text", *rows]))
    assert read("speeches", path) == ["Frau Präsidentin! Wir - alle (auch Sie) - danken.", 'It is. So, "yes".']


def test_articles_with_damaged_quotation_marks_are_left_out(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", 'text\n"He said ""no""."\n"DeVos""?highly contentious"\n')
    assert read("articles", path) == ['He said "no".']


def test_wiktionary_groups_twenty_entries(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress("".join(f"Wort{n}\tBedeutung: {n}\n" for n in range(45)).encode()))
    found = read("wiktionary", path)
    assert [len(text.split("\n")) for text in found] == [20, 20, 5]
    assert found[2].startswith("Wort40: Bedeutung: 40\nWort41: ")


def test_bible_is_cut_at_chapters(tmp_path: Path) -> None:
    starts = "{1001001: 0, 1001002: 13, 1002001: 18, 66022001: 25,}"
    module = f'bible = Bible(\n    """God`s light. Day. Night. End.""",\n    {starts}, {{9001001: 3,}})'
    assert read("bible", write(tmp_path / "x.py", module)) == ["God's light. Day.", "Night.", "End."]


TERMS = """format-version: 1.2

[Term]
id: 1
name: All

[Term]
id: 2
name: Tall
def: "Above \\"the\\" norm: [high]." [https://x "y"]
comment: Seldom.
synonym: "name: Big" EXACT []
"""


def test_ontology_keeps_terms_with_a_definition(tmp_path: Path) -> None:
    assert read("ontology", write(tmp_path / "x.obo", TERMS)) == ['Tall\nAbove "the" norm: [high]. Seldom.']


def test_ontology_refuses_another_format(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="term 2 has a definition without quotation marks"):
        read("ontology", write(tmp_path / "x.obo", "\n[Term]\nid: 2\nname: x\ndef: bare\n"))


def test_chitchat_names_speakers_in_order(tmp_path: Path) -> None:
    def said(sender: str, text: str) -> dict[str, str]:
        return {"sender": sender, "text": text}

    first = {"messages": [[said("x", "Hi"), said("x", "you")], [said("y", "Ho")]], "prompt": "What if?"}
    second = {"messages": [[said("y", "Alone")]]}
    path = write(tmp_path / "x.json", json.dumps({"1": first, "2": second}))
    assert read("chitchat", path) == ["What if?\nA: Hi\nA: you\nB: Ho", "A: Alone"]


MODULE = '''#!/usr/bin/env python
# A comment.

r"""The module."""

TEXT = """no docstring"""

def f(a, b="x:",
      c=1):
    """Do f.

    More.
    """
    x = {"a":
         1}

class C:
    """A class."""

    def g(self):
        return """no docstring"""
'''


def test_docstrings_and_nothing_else(tmp_path: Path) -> None:
    assert read("docstrings", write(tmp_path / "x.py", MODULE)) == ["The module.\n\nDo f.\n\nMore.\n\nA class."]


def test_help_pages_keep_the_page_proper(tmp_path: Path) -> None:
    page = (
        '<body><p>menu</p><div id="DisplayArea" itemprop="x"><h1>Tab&amp;elle</h1>\n'
        "<p>Zeigt\n <span>Befehle</span> an.</p>"
        '<script>var x;</script><ul><li>eins</li></ul></div><div id="SearchFrame"></div><p>bug</p>'
    )
    assert read("help_pages", write(tmp_path / "x.html", page)) == ["Tab&elle\nZeigt Befehle an.\neins"]
