"""Public continual-learning benchmarks in their own file formats, read from a directory of the user.

No benchmark is shipped. Paths are relative to the folder of the scenario's file; errors name file and item. Each source
keeps the benchmark's own splits if they are disjoint, and states which known defects it handles. `cl.tasks.splitting`
ensures that no test question is trained on.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from cl.errors import UserError
from cl.registry import unknown
from cl.tasks.example import Example, Style
from scenarios.sources.files import content_hash
from scenarios.sources.tables import checked

Split = Literal["train", "validation", "test"]

CHOOSE = "Choose one from the option."
# Instruction at the start of a question, by family of CL_Benchmark (O-LoRA, Table 8); a COPA sentence is a question.
INSTRUCTIONS = {
    "NLI": f'What is the logical relationship between the "sentence 1" and the "sentence 2"? {CHOOSE}',
    "QQP": f'Whether the "first sentence" and the "second sentence" have the same meaning? {CHOOSE}',
    "SC": f"What is the sentiment of the following paragraph? {CHOOSE}",
    "TC": f"What is the topic of the following paragraph? {CHOOSE}",
    "BoolQA": f"According to the following passage, is the question true or false? {CHOOSE}",
    "MultiRC": f"According to the following passage and question, is the candidate answer true or false? {CHOOSE}",
    "WiC": f"Given a word and two sentences, whether the word is used with the same sense in both sentence? {CHOOSE}",
    "COPA": "",
}


class _Local:
    """Files of a benchmark by split, with the settings that decide how they are read."""

    licence = "the benchmark's own"

    def __init__(self, about: str, paths: dict[Split, Path], **settings: Any) -> None:
        self.about, self.paths, self.settings = about, paths, settings
        for path in paths.values():
            if not path.is_file():
                raise UserError(f"path: there is no file {path}")

    def fingerprint(self) -> str:
        """Hash of the files' contents, and the settings."""
        return f"{content_hash(self.paths.values())} {json.dumps(self.settings, sort_keys=True)}"

    def _rows(self, split: Split) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each object of a JSON list, after its place in the file for error messages."""
        for number, row in enumerate(_json(self.paths[split], list), start=1):
            where = f"{self.paths[split]}, item {number}"
            if not isinstance(row, dict):
                raise UserError(f"{where}: is not a JSON object")
            yield where, row


class Trace(_Local):
    """One task of TRACE (arXiv 2310.06762, repository BeyonderXX/TRACE): {"prompt", "answer"} in three files.

    Prompts are used unchanged, including the requested form of the answer. Raises UserError for a missing file, and for
    an item without prompt or answer.

    Args:
        path: folder of the benchmark.
        task: folder of the task in `path`, with train.json, eval.json and test.json.
        style: form of the answers.
        options: labels, for the style `label`.
    """

    def __init__(
        self, path: str, task: str, style: Style = "phrase", options: list[str] | None = None, folder: str = "."
    ) -> None:
        base = Path(folder, path, task)
        files: dict[Split, str] = {"train": "train.json", "validation": "eval.json", "test": "test.json"}
        paths = {split: base / file for split, file in files.items()}
        super().__init__(f"TRACE {task}", paths, style=style, options=options)

    def documents(self) -> Iterator[Example]:
        """Yield the examples of all three files."""
        for split in self.paths:
            for where, row in self._rows(split):
                prompt, answer = (checked(row.get(field), field, row, where) for field in ("prompt", "answer"))
                yield _example(where, prompt, answer, self.settings["style"], self.settings["options"], split)


class CLBenchmark(_Local):
    """One data set of O-LoRA's CL_Benchmark (arXiv 2310.14152, repository cmnfriend/O-LoRA).

    Files hold {"label", "sentence"}; labels.json holds the labels. A question is as in the repository: the instruction
    of the family, the labels after "Option: ", the sentence; for COPA only the sentence. Deviations: no "Answer:" at
    the end, because the chat template marks the answer, and no blanks at line ends. Defects: dev.json equals test.json
    in every set, so it is not read and a validation split is taken from the training; 131 test rows of MNLI have the
    label "-" (no majority), and all rows with this label are left out. Raises UserError for a missing file, an unknown
    family, and a label that labels.json lacks.

    Args:
        path: folder of the benchmark.
        dataset: FAMILY/NAME, such as NLI/MNLI.
    """

    licence = "repository MIT; each data set keeps its own terms"

    def __init__(self, path: str, dataset: str, folder: str = ".") -> None:
        base = Path(folder, path, dataset)
        paths: dict[Split, Path] = {"train": base / "train.json", "test": base / "test.json"}
        if not (base / "labels.json").is_file():
            raise UserError(f"dataset: there is no {base / 'labels.json'}; give FAMILY/NAME, such as NLI/MNLI")
        family = dataset.split("/")[0]
        _require("dataset: family", [family], INSTRUCTIONS)
        self.labels: list[str] = _json(base / "labels.json", list)
        if not _is_texts(self.labels):
            raise UserError(f"{base / 'labels.json'}: holds {self.labels!r}, which is no list of texts")
        self.instruction = INSTRUCTIONS[family] and f"{INSTRUCTIONS[family]}\nOption: {', '.join(self.labels)}\n"
        super().__init__(f"CL_Benchmark {dataset}", paths, dataset=dataset, labels=self.labels)

    def documents(self) -> Iterator[Example]:
        """Yield the examples of training and test."""
        for split in self.paths:
            for where, row in self._rows(split):
                label, sentence = row.get("label"), checked(row.get("sentence"), "sentence", row, where).strip()
                if label in self.labels:
                    yield _example(where, self.instruction + sentence, str(label), "label", self.labels, split)
                elif label != "-":
                    raise UserError(f"{where}: label {label!r} is none of {self.labels}")


class Coin(_Local):
    """The text of a task of CoIN (arXiv 2403.08350), or of any file in LLaVA's conversation format.

    A file holds [{"conversations": [{"from": "human", "value"}, {"from": "gpt", "value"}]}]; the first text of each
    speaker is read. Raises UserError for a missing file and for an item that is not a conversation.

    Args:
        path: training file.
        test: test file; by default a test split is taken from `path`.
        style: form of the answers.
        images: items with an image cannot be answered from text: `refuse` raises UserError, `drop` leaves them out.
    """

    def __init__(
        self,
        path: str,
        test: str | None = None,
        style: Style = "phrase",
        images: Literal["refuse", "drop"] = "refuse",
        folder: str = ".",
    ) -> None:
        given: dict[Split, str | None] = {"train": path, "test": test}
        paths = {split: Path(folder, file) for split, file in given.items() if file is not None}
        super().__init__(f"conversations of {path}", paths, style=style, images=images)

    def documents(self) -> Iterator[Example]:
        """Yield the conversations' first questions with their answers."""
        for split in self.paths:
            for where, row in self._rows(split):
                question, answer = _first_turns(where, row)
                pictured = row.get("image") or "<image>" in question
                if pictured and self.settings["images"] == "refuse":
                    raise UserError(f"{where}: needs its image; set images: drop to leave such items out")
                if not pictured:
                    place = split if len(self.paths) > 1 else None
                    yield _example(where, question, answer, self.settings["style"], None, place)


class Clinc(_Local):
    """Intents of CLINC150 (Larson et al. 2019, repository clinc/oos-eval), with the data set's own splits.

    Labels are written with blanks in place of underscores. Out-of-scope queries are left out. The words of the question
    around a query are ours. Raises UserError for a missing file, and for an unknown domain, intent or label.

    Args:
        path: folder with data_full.json and domains.json.
        domains: domains whose intents are read, 15 intents each; give either domains or intents.
        intents: names of the intents that are read.
        labels: all labels that may be answered, as in a class-incremental stream; by default the intents of this task.
    """

    licence = "CC-BY-3.0"

    def __init__(
        self,
        path: str,
        domains: list[str] | None = None,
        intents: list[str] | None = None,
        labels: list[str] | None = None,
        folder: str = ".",
    ) -> None:
        base = Path(folder, path)
        if bool(domains) == bool(intents):
            raise UserError("domains: give either domains or intents")
        by_domain: dict[str, list[str]] = _json(base / "domains.json", dict)
        if not all(map(_is_texts, by_domain.values())):
            raise UserError(f"{base / 'domains.json'}: must hold a list of intents for each domain")
        known = [intent for several in by_domain.values() for intent in several]
        _require("domains", domains or [], by_domain)
        self.intents = intents or [intent for domain in domains or [] for intent in by_domain[domain]]
        _require("intents", self.intents, known)
        self.labels = labels or self.intents
        _require("labels", self.labels, known)
        if missing := [intent for intent in self.intents if intent not in self.labels]:
            raise UserError(f"labels: {missing[0]!r} is missing, which is an intent of this task; add it")
        super().__init__("CLINC150", {"train": base / "data_full.json"}, intents=self.intents, labels=self.labels)

    def documents(self) -> Iterator[Example]:
        """Yield the queries of the chosen intents."""
        labels = [label.replace("_", " ") for label in self.labels]
        splits: dict[str, Split] = {"train": "train", "val": "validation", "test": "test"}
        for key, split in splits.items():
            for where, query, intent in self._queries(key):
                if intent in self.intents:
                    question = f'Which intent has the query "{query}"?'
                    yield _example(where, question, intent.replace("_", " "), "label", labels, split)

    def _queries(self, key: str) -> Iterator[tuple[str, str, str]]:
        """Each query of a split with its intent, after its place in the file for error messages."""
        path = self.paths["train"]
        pairs = _json(path, dict).get(key)
        if not isinstance(pairs, list):
            raise UserError(f"{path}: has no list {key!r}")
        for number, pair in enumerate(pairs, start=1):
            where = f"{path}, {key}, item {number}"
            if not _is_texts(pair) or len(pair) != 2:
                raise UserError(f"{where}: {pair!r} is no pair of query and intent")
            yield where, *pair


def _json(path: Path, kind: type) -> Any:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"path: there is no file {path}") from None
    except ValueError as error:  # wrong encoding or wrong JSON
        raise UserError(f"path: {path} is not JSON in UTF-8: {error}") from error
    if not isinstance(found, kind):
        raise UserError(f"{path}: must hold a JSON {'list' if kind is list else 'object'}")
    return found


def _is_texts(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(item, str) for item in found)


def _require(key: str, names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise UserError(unknown(key, name, known))


def _first_turns(where: str, row: dict[str, Any]) -> tuple[str, str]:
    """First text of the human in a conversation, and first text of the model."""
    turns = row.get("conversations")
    turns = [turn for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []
    first = {turn.get("from"): turn.get("value") for turn in reversed(turns)}
    if not _is_texts([first.get("human"), first.get("gpt")]):
        raise UserError(f"{where}: field 'conversations' has no text from human or none from gpt")
    return first["human"], first["gpt"]


def _example(
    where: str, question: str, answer: str, style: Style, options: list[str] | None, split: Split | None
) -> Example:
    try:
        return Example(question.strip(), answer.strip(), style, tuple(options or ()), split=split)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
