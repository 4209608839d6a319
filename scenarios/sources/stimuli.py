"""Passages to study, each with a twin that is not: the six kinds of stimuli of Orhan 2023, arXiv 2303.17557.

| form       | studied                                     | twin                       | experiment of the paper |
|------------|---------------------------------------------|----------------------------|-------------------------|
| sentences  | a sentence                                  | another sentence           | 1                       |
| pairs      | what the user's file says: a paraphrase …   | what the file says         | 2                       |
| synonyms   | a sentence                                  | the same, one word changed | 3                       |
| words      | 25 random words                             | 25 other random words      | 4                       |
| not_prose  | 25 random words                             | a sentence                 | 5                       |
| gibberish  | a sentence, letters and words in disorder   | that sentence              | 6                       |

A model prefers the twins of the last two before it has studied anything, so chance is far below one half there.
Deviations: sentences of a packaged corpus, which models may have seen, instead of new posts; words of that corpus
instead of a novel's; synonyms from a list instead of a model's.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, get_args

from cl.errors import UserError
from cl.tasks.passage import Passage
from scenarios.sources.files import content_hash
from scenarios.sources.packaged import Packaged
from scenarios.sources.tables import checked, rows

Form = Literal["sentences", "pairs", "synonyms", "words", "not_prose", "gibberish"]
LIST = 25  # words
SHORTEST, LONGEST = 8, 40  # words of a sentence
END = re.compile(r"(?<!hon\.)(?<!Mr\.)(?<!Mrs\.)(?<!Dr\.)(?<=[.!?])\s+(?=[A-Z])")
SYNONYMS = {
    "big": "large", "begin": "start", "buy": "purchase", "help": "assist", "need": "require", "show": "demonstrate",
    "many": "numerous", "often": "frequently", "quick": "rapid", "small": "little", "think": "believe",
    "hard": "difficult", "important": "significant", "people": "persons", "money": "funds", "answer": "reply",
    "ask": "request", "change": "alter", "choose": "select", "country": "nation", "danger": "risk", "end": "finish",
    "enough": "sufficient", "error": "mistake", "fast": "swift", "get": "obtain", "give": "provide", "goal": "aim",
    "great": "grand", "happy": "glad", "house": "home", "idea": "notion", "keep": "retain", "kind": "sort",
    "law": "statute", "look": "gaze", "make": "produce", "near": "close", "part": "portion", "place": "location",
    "plan": "scheme", "problem": "difficulty", "road": "street", "say": "state", "see": "observe",
    "sure": "certain", "talk": "speak", "try": "attempt", "use": "employ", "want": "desire", "whole": "entire",
    "work": "labour", "world": "globe", "wrong": "incorrect", "year": "twelvemonth", "government": "administration",
    "report": "account", "support": "back", "also": "too", "must": "should",
}  # fmt: skip


class Stimuli:
    """Passages of one form, drawn from a packaged corpus or read from the user's file.

    Draws with different numbers share no sentence and no list, so each is a sample of its own.

    Args:
        form: form of the passages, see the table of this module.
        items: number of passages; the split takes some of them away from what is studied.
        draw: number of the draw.
        corpus: packaged corpus with the sentences and words.
        path: of the form `pairs`: `.jsonl`, `.json`, `.parquet` or `.tsv` file with a passage and its twin in each row,
            such as the published files of MRPC and PAWS.
        text: of the form `pairs`: field with the text to study.
        twin: of the form `pairs`: field with the twin; a file of twins: see `twins`.
        twins: of the form `pairs`: a second file with the twins, row by row, in its field `twin`.
        where: of the form `pairs`: fields with the values that a row must have, such as `{Quality: "1"}` of MRPC.
        folder: folder of the scenario's file.

    Raises:
        UserError: for settings that have no effect, and for a corpus or a file with too few passages.
    """

    states_splits = False

    def __init__(
        self,
        form: Form,
        items: int = 200,
        draw: int = 0,
        corpus: str = "",
        path: str = "",
        text: str = "text",
        twin: str = "twin",
        twins: str = "",
        where: dict[str, str] | None = None,
        folder: str = ".",
    ) -> None:
        if form not in get_args(Form):
            raise UserError(f"form: {form!r} is none of {', '.join(get_args(Form))}")
        if items < 1 or draw < 0:
            raise UserError(f"items, draw: {items}, {draw} must be at least 1 and 0")
        if (form == "pairs") != bool(path):
            raise UserError("path: the form `pairs` reads a file, other forms a corpus; give path or change form")
        if where and (twins or not path):
            raise UserError("where: chooses rows of one file of pairs; remove it")
        if (path and (corpus or draw)) or (not path and twins):
            raise UserError("corpus, draw, twins: a file is read from its first row on; remove what has no effect")
        self.form, self.items, self.draw, self.text, self.twin = form, items, draw, text, twin
        self.where = where or {}
        self.files = [Path(folder, name) for name in (path, twins) if name]
        if missing := [file for file in self.files if not file.is_file()]:
            raise UserError(f"path: there is no file {missing[0]}")
        self.corpus = None if path else Packaged(corpus or "house_of_commons")
        named = "passages of " + path if self.corpus is None else f"draw {draw} from {self.corpus.about}"
        self.about = f"{items} {form} to study, each with a twin; {named}"
        self.licence = "not stated" if self.corpus is None else self.corpus.licence

    def fingerprint(self) -> str:
        """Fingerprint of the corpus or the files, and the settings."""
        content = content_hash(self.files) if self.corpus is None else self.corpus.fingerprint()
        chosen = f" {sorted(self.where.items())}" if self.where else ""
        return f"{content} {self.form} {self.items} {self.draw} {self.text} {self.twin}{chosen}"

    def documents(self) -> Iterator[Passage]:
        """Yield the passages."""
        if self.corpus is None:
            yield from self._of_files()
            return
        texts = list(self.corpus.documents())
        made = FORMS[self.form](texts, random.Random(self.draw), self.items, self.draw)
        yield from (Passage(text, twin) for text, twin in made)

    def _of_files(self) -> Iterator[Passage]:
        columns: list[list[str]] = []
        for file, fields in zip(self.files, ([self.text], [self.twin]), strict=False):
            fields = fields if self.files[1:] else [self.text, self.twin]
            found = rows(file, [*fields, *self.where])
            read = (
                [checked(row.get(name), name, row, at) for name in fields] for at, row in found if self._is(row, at)
            )
            columns += [list(column) for column in zip(*read, strict=True)]
        if len({len(column) for column in columns}) != 1 or len(columns[0]) < self.items:
            raise UserError(
                f"items: {self.files[0]} has no {self.items} rows, or its twins have another number of rows"
            )
        yield from (Passage(*pair) for pair in zip(columns[0][: self.items], columns[1], strict=False))

    def _is(self, row: dict[str, object], at: str) -> bool:
        """Whether a row has the values that `where` wants."""
        return all(checked(row.get(name), name, row, at) == value for name, value in self.where.items())


def sentences_of(texts: list[str]) -> list[str]:
    """Sentences of SHORTEST to LONGEST words, each once: they begin with a capital and end with . ! or ?"""
    found = (piece.strip() for text in texts for piece in END.split(" ".join(text.split())))
    return list(dict.fromkeys(piece for piece in found if is_sentence(piece)))


def is_sentence(text: str) -> bool:
    """Whether a text has the length of a sentence, and begins and ends as one."""
    return SHORTEST <= len(text.split()) <= LONGEST and text[0].isupper() and text[-1] in ".!?"


def words_of(texts: list[str]) -> list[str]:
    """Distinct words of more than two letters, in lower case."""
    return sorted({word for text in texts for word in re.findall(r"[^\W\d_]{3,}", text) if word.islower()})


def _drawn(found: list[str], count: int, draw: int) -> list[str]:
    """The next `count` of a shuffled list after those of earlier draws."""
    shuffled = random.Random(0).sample(found, len(found))
    if (draw + 1) * count > len(shuffled):
        raise UserError(f"items: the corpus has {len(shuffled)} sentences that fit; lower items or draw")
    return shuffled[draw * count : (draw + 1) * count]


def _sentences(texts: list[str], chance: random.Random, items: int, draw: int) -> Iterator[tuple[str, str]]:
    found = _drawn(sentences_of(texts), 2 * items, draw)
    return zip(found[:items], found[items:], strict=True)


def changed(sentence: str) -> str | None:
    """The sentence with its first word that has a synonym replaced by it; None if it has none."""
    words = sentence.split(" ")
    place = next((i for i, word in enumerate(words) if word in SYNONYMS), None)
    return None if place is None else " ".join([*words[:place], SYNONYMS[words[place]], *words[place + 1 :]])


def _synonyms(texts: list[str], chance: random.Random, items: int, draw: int) -> Iterator[tuple[str, str]]:
    found = _drawn([sentence for sentence in sentences_of(texts) if changed(sentence)], items, draw)
    return ((sentence, str(changed(sentence))) for sentence in found)


def _lists(words: list[str], chance: random.Random, items: int) -> list[str]:
    return [" ".join(chance.choices(words, k=LIST)) for _ in range(items)]


def _words(texts: list[str], chance: random.Random, items: int, draw: int) -> Iterator[tuple[str, str]]:
    words = words_of(texts)
    return zip(_lists(words, chance, items), _lists(words, chance, items), strict=True)


def _not_prose(texts: list[str], chance: random.Random, items: int, draw: int) -> Iterator[tuple[str, str]]:
    return zip(_lists(words_of(texts), chance, items), _drawn(sentences_of(texts), items, draw), strict=True)


def shuffled(sentence: str, chance: random.Random) -> str:
    """The sentence with the letters of each word in disorder, then the words."""
    words = ["".join(chance.sample(word, len(word))) for word in sentence.split()]
    return " ".join(chance.sample(words, len(words)))


def _gibberish(texts: list[str], chance: random.Random, items: int, draw: int) -> Iterator[tuple[str, str]]:
    return ((shuffled(sentence, chance), sentence) for sentence in _drawn(sentences_of(texts), items, draw))


FORMS: dict[str, Callable[[list[str], random.Random, int, int], Iterator[tuple[str, str]]]] = {
    "sentences": _sentences,
    "synonyms": _synonyms,
    "words": _words,
    "not_prose": _not_prose,
    "gibberish": _gibberish,
}
"""Functions from texts, a source of chance, the number of passages and of the draw to pairs of text and twin."""
