"""Public continual-learning benchmarks in their own file formats, from a directory of the user's.

None of them is shipped. Each loader keeps the benchmark's own splits where they are splits, and says which of its known
defects it handles; that an example of the test is not trained on is the splitting's affair.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from cl.catalog import unknown
from cl.errors import UserError
from cl.examples import Example, Style
from scenarios.files import content_hash

Split = Literal["train", "validation", "test"]

# What a question begins with, by family of CL_Benchmark: ours, after the tasks' names in the paper's appendix.
INSTRUCTIONS = {
    "NLI": "What is the logical relationship between sentence 1 and sentence 2?",
    "QQP": "Do the first sentence and the second sentence have the same meaning?",
    "SC": "What is the sentiment of the following text?",
    "TC": "What is the topic of the following text?",
    "BoolQA": "According to the passage, is the answer to the question true or false?",
    "WiC": "Is the word used with the same meaning in both sentences?",
}


class _Local:
    """A benchmark's files: `paths` by split, and what is read of them."""

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
        """Each object of a JSON list, with where it stands for errors."""
        for index, row in enumerate(_json(self.paths[split], list)):
            yield f"{self.paths[split]}, item {index + 1}", row


class Trace(_Local):
    """One task of TRACE (arXiv 2310.06762, repository BeyonderXX/TRACE): {"prompt", "answer"} in three files.

    path: the benchmark's folder; task: a folder in it with train.json, eval.json and test.json; style: of the answers;
    options: labels, for style `label`. Prompts are taken as they are, with the form that they ask for.
    """

    def __init__(
        self, path: str, task: str, style: Style = "phrase", options: list[str] | None = None, folder: str = "."
    ) -> None:
        base = Path(folder, path, task)
        paths: dict[Split, Path] = {
            "train": base / "train.json",
            "validation": base / "eval.json",
            "test": base / "test.json",
        }
        super().__init__(f"TRACE {task}", paths, style=style, options=options)

    def documents(self) -> Iterator[Example]:
        """Yield the examples of all three files."""
        for split in self.paths:
            for where, row in self._rows(split):
                yield _example(where, row, "prompt", "answer", self.settings["style"], self.settings["options"], split)


class CLBenchmark(_Local):
    """One data set of O-LoRA's CL_Benchmark (arXiv 2310.14152, repository cmnfriend/O-LoRA).

    path: its folder; dataset: FAMILY/NAME, such as NLI/MNLI. Files hold {"label", "sentence"}, labels.json the labels.
    The instruction before the sentence is ours, as the repository's are many per task; COPA has its own in the text.
    Defects: dev.json equals test.json in every set, so it is not read and a validation split is carved out of the
    training; 131 test rows of MNLI are labelled "-" (no majority) and are left out.
    """

    def __init__(self, path: str, dataset: str, folder: str = ".") -> None:
        base = Path(folder, path, dataset)
        paths: dict[Split, Path] = {"train": base / "train.json", "test": base / "test.json"}
        if not (base / "labels.json").is_file():
            raise UserError(f"dataset: there is no {base / 'labels.json'}; give FAMILY/NAME, such as NLI/MNLI")
        self.labels: list[str] = _json(base / "labels.json", list)
        super().__init__(f"CL_Benchmark {dataset}", paths, dataset=dataset, labels=self.labels)

    def documents(self) -> Iterator[Example]:
        """Yield the examples of training and test. Raises UserError for a label that labels.json does not have."""
        instruction = INSTRUCTIONS.get(self.settings["dataset"].split("/")[0], "")
        for split in self.paths:
            for where, row in self._rows(split):
                if row.get("label") == "-":
                    continue
                if row.get("label") not in self.labels:
                    raise UserError(f"{where}: label {row.get('label')!r} is none of {self.labels}")
                question = f"{instruction}\n{str(row.get('sentence', '')).strip()}\nOptions: {', '.join(self.labels)}"
                yield Example(question.strip(), row["label"], "label", tuple(self.labels), split=split)


class Coin(_Local):
    """A task of CoIN or any other in LLaVA's conversation format, its text part (arXiv 2403.08350).

    path: a file of [{"conversations": [{"from": "human", "value"}, {"from": "gpt", "value"}]}], of which the first two
    turns are read; test: the same for the test, without which one is carved out; style: of the answers; images: an
    item that needs its picture cannot be answered from text: `refuse` stops at it, `drop` leaves it out.
    """

    def __init__(
        self,
        path: str,
        test: str | None = None,
        style: Style = "phrase",
        images: Literal["refuse", "drop"] = "refuse",
        folder: str = ".",
    ) -> None:
        paths: dict[Split, Path] = {"train": Path(folder, path)}
        if test is not None:
            paths["test"] = Path(folder, test)
        super().__init__(f"conversations of {path}", paths, style=style, images=images)

    def documents(self) -> Iterator[Example]:
        """Yield the conversations' first questions with their answers."""
        for split in self.paths:
            for where, row in self._rows(split):
                turns = {turn["from"]: turn["value"] for turn in reversed(row.get("conversations") or [])}
                if "image" in row or "<image>" in turns.get("human", ""):
                    if self.settings["images"] == "refuse":
                        raise UserError(f"{where}: needs its image; set images: drop to leave such items out")
                    continue
                place = split if len(self.paths) > 1 else None
                yield _example(where, turns, "human", "gpt", self.settings["style"], None, place)


class Clinc(_Local):
    """Intents of CLINC150 (Larson et al. 2019, repository clinc/oos-eval), with the data set's own splits.

    path: folder with data_full.json and domains.json; domains: whose intents are read, for class-incremental tasks of
    15 intents each, or intents: their names; labels: all that may be answered (by default those of this task).
    Labels are written with blanks. Queries out of scope are left out.
    """

    def __init__(
        self,
        path: str,
        domains: list[str] | None = None,
        intents: list[str] | None = None,
        labels: list[str] | None = None,
        folder: str = ".",
    ) -> None:
        base = Path(folder, path)
        if (domains is None) == (intents is None):
            raise UserError("domains: give either domains or intents")
        super().__init__(
            "CLINC150", {"train": base / "data_full.json"}, domains=domains, intents=intents, labels=labels
        )
        by_domain: dict[str, list[str]] = _json(base / "domains.json", dict)
        for domain in domains or []:
            if domain not in by_domain:
                raise UserError(unknown("domains", domain, by_domain))
        self.intents = intents or [intent for domain in domains or [] for intent in by_domain[domain]]
        known = {intent for several in by_domain.values() for intent in several}
        for intent in self.intents:
            if intent not in known:
                raise UserError(unknown("intents", intent, known))
        self.licence = "CC-BY-3.0"

    def documents(self) -> Iterator[Example]:
        """Yield the queries of the chosen intents."""
        content: dict[str, list[list[str]]] = _json(self.paths["train"], dict)
        labels = tuple(label.replace("_", " ") for label in self.settings["labels"] or self.intents)
        chosen, names = set(self.intents), {"train": "train", "val": "validation", "test": "test"}
        for key, split in names.items():
            for query, intent in content[key]:
                if intent in chosen:
                    place: Any = split
                    question = f'Which intent has the query "{query}"?'
                    yield Example(question, intent.replace("_", " "), "label", labels, split=place)


def _json(path: Path, kind: type) -> Any:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"path: there is no file {path}") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: is not JSON: {error.msg}") from error
    if not isinstance(found, kind):
        raise UserError(f"{path}: must hold a JSON {'list' if kind is list else 'object'}")
    return found


def _example(
    where: str, row: Any, question: str, answer: str, style: Style, options: list[str] | None, split: Split | None
) -> Example:
    for field in (question, answer):
        if not isinstance(row, dict) or not isinstance(row.get(field), str):
            raise UserError(f"{where}: field {field!r} is missing or no text")
    try:
        return Example(row[question].strip(), row[answer].strip(), style, tuple(options or ()), split=split)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
