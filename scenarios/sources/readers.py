"""Read documents from the files of a packaged corpus: one function per format.

A document should have some hundreds of tokens, so several consecutive short entries become one document.
"""

from __future__ import annotations

import csv
import gzip
import html
import inspect
import io
import itertools
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cl.errors import UserError

ENTRIES = 20  # dictionary entries per document
TERMS = 10  # ontology terms, or docstrings of a module, per document
DOCSTRING = re.compile(r'(?:\A(?:#[^\n]*\n|\s)*|:[ \t]*\n\s*)[rR]?"""(.*?)"""', re.DOTALL)
DAMAGED = '"?'  # an apostrophe or a closing quotation mark, damaged by another program
BLOCK_END = re.compile(r"</(?:p|h\d|li|td|th|pre|div|tr)>")


def texts(paths: Iterable[Path]) -> Iterator[str]:
    """One document per file."""
    return (path.read_text(encoding="utf-8") for path in paths)


def speeches(paths: Iterable[Path]) -> Iterator[str]:
    """Column `text` of a zipped CSV of speeches, without blanks before punctuation and with - in place of _."""
    for text in _zipped_column(paths):
        text = re.sub(r"(?: \.)+", ".", text)
        yield re.sub(r" ([,;:!?)])", r"\1", text).replace("( ", "(").replace(" _ ", " - ")


def articles(paths: Iterable[Path]) -> Iterator[str]:
    """Column `text` of a zipped CSV of articles, without articles whose punctuation is damaged."""
    return (text for text in _zipped_column(paths) if DAMAGED not in text)


def wiktionary(paths: Iterable[Path]) -> Iterator[str]:
    """Lines of word, tab, definition as "word: definition", twenty lines per document."""
    for path in paths:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            yield from _grouped((line.strip().replace("\t", ": ", 1) for line in lines), ENTRIES, "\n")


def bible(paths: Iterable[Path]) -> Iterator[str]:
    """Chapters from a module of pythonbible, which holds the text in one literal and the start of each verse in it."""
    for path in paths:
        _, text, rest = path.read_text(encoding="utf-8").split('"""', 2)
        verses = re.findall(r"(\d{7,8}): (\d+),", rest.partition("}")[0])
        starts: dict[int, int] = {}
        for verse, start in verses:
            starts.setdefault(int(verse) // 1000, int(start))  # the last three digits count verses
        for start, stop in itertools.pairwise([*starts.values(), len(text)]):
            yield text[start:stop].replace("`", "'").strip()


def ontology(paths: Iterable[Path]) -> Iterator[str]:
    """Name, definition and comment of the terms of an OBO file that have a definition, ten terms per document."""
    for path in paths:
        terms = path.read_text(encoding="utf-8").split("\n[Term]\n")[1:]
        yield from _grouped((_term(term) for term in terms if "\ndef: " in term), TERMS, "\n\n")


def chitchat(paths: Iterable[Path]) -> Iterator[str]:
    """Conversations: the opening question if there is one, then one line per message; speakers are named A, B."""
    for path in paths:
        for conversation in json.loads(path.read_text(encoding="utf-8")).values():
            messages = [message for turn in conversation["messages"] for message in turn]
            speakers = list(dict.fromkeys(message["sender"] for message in messages))
            lines = [f"{chr(ord('A') + speakers.index(message['sender']))}: {message['text']}" for message in messages]
            yield "\n".join([conversation.get("prompt", ""), *lines]).strip()


def docstrings(paths: Iterable[Path]) -> Iterator[str]:
    """Docstrings in triple quotation marks of Python modules, ten consecutive docstrings of a module per document.

    A regular expression finds them at the top of a file or on the line below a colon: parsing takes ten times as long
    and finds hardly more.
    """
    for path in paths:
        found = DOCSTRING.findall(path.read_text(encoding="utf-8"))
        yield from _grouped((inspect.cleandoc(text) for text in found), TERMS, "\n\n")


def help_pages(paths: Iterable[Path]) -> Iterator[str]:
    """HTML pages of LibreOffice's help: the text of the content area, one line per block."""
    for path in paths:
        _, _, page = path.read_text(encoding="utf-8").partition('id="DisplayArea"')
        page = page.partition(">")[2].partition('<div id="SearchFrame">')[0]
        page = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
        lines = BLOCK_END.sub("\n", re.sub(r"\s+", " ", page)).split("\n")
        clean = (" ".join(html.unescape(re.sub(r"<[^>]*>", "", line)).split()) for line in lines)
        yield "\n".join(line for line in clean if line)


READERS: dict[str, Callable[[Iterable[Path]], Iterator[str]]] = {
    reader.__name__: reader
    for reader in (texts, speeches, articles, wiktionary, bible, ontology, chitchat, docstrings, help_pages)
}


def _zipped_column(paths: Iterable[Path], column: str = "text") -> Iterator[str]:
    for path in paths:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as file:
                    for row in csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline="")):
                        yield row[column]


def _grouped(entries: Iterable[str], number: int, glue: str) -> Iterator[str]:
    """Join each `number` consecutive entries; the last document may hold fewer."""
    remaining = iter(entries)
    while group := list(itertools.islice(remaining, number)):
        yield glue.join(group)


def _term(term: str) -> str:
    fields = dict(line.split(": ", 1) for line in reversed(term.splitlines()) if ": " in line)
    match = re.match(r'"(.*)" \[', fields["def"])
    if match is None:
        raise UserError(f"ontology: term {fields['id']} has a definition without quotation marks")
    comment = fields.get("comment", "")
    return f"{fields['name']}\n{match[1]} {comment}".replace('\\"', '"').replace("\\n", " ").strip()
