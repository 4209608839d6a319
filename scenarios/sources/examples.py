"""Questions and answers from the user's JSON Lines, JSON or Parquet files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cl.errors import UserError
from cl.tasks.example import Example, Style
from scenarios.sources.files import Files, content_hash
from scenarios.sources.tables import TABLES, checked, kind, rows


class Examples:
    """Examples of an instruction task, one row or JSON object each.

    Raises UserError, with file and line, for a field that is missing or does not hold text.

    Args:
        path: file, folder or glob of `.jsonl`, `.json` or `.parquet` files, relative to `folder`.
        style: form of all answers, see `cl.tasks.example.Style`.
        question: field with the question.
        answer: field with the reference answer.
        style_field: field with the form of the answer, in place of `style`.
        options: field with the list of options or labels.
        accepted: field with the list of further right answers.
        labels: options of all lines, in place of the field `options`.
        split: field with the split: train, validation or test.
        rejected: field with the worse answer, for preferences.
        licence: licence, in one line.
        about: description, in one line; by default the path.
        folder: folder of the scenario's file.
    """

    def __init__(
        self,
        path: str,
        style: Style = "phrase",
        question: str = "question",
        answer: str = "answer",
        style_field: str | None = None,
        options: str | None = None,
        accepted: str | None = None,
        labels: list[str] | None = None,
        split: str | None = None,
        rejected: str | None = None,
        licence: str = "not stated",
        about: str = "",
        folder: str = ".",
    ) -> None:
        if labels and options:
            raise UserError("labels: replaces the field `options`; give only one of the two")
        self.files = Files(path, column=question, folder=folder)
        self.settings: dict[str, Any] = {
            "style": style, "question": question, "answer": answer, "style_field": style_field, "options": options,
            "accepted": accepted, "labels": labels, "split": split, "rejected": rejected,
        }  # fmt: skip
        self.licence, self.about = licence, about or path
        self.states_splits = split is not None

    def documents(self) -> Iterator[Example]:
        """Yield the examples of all files."""
        for path in self.files.files():
            if kind(path) not in TABLES:
                raise UserError(f"path: {path} is none of {', '.join(TABLES)}; use a glob such as *.jsonl")
            for where, row in rows(path):
                yield self._example(row, where)

    def size(self) -> int:
        """Bytes of text, roughly, from the sizes of the files."""
        return self.files.size()

    def fingerprint(self) -> str:
        """Hash of the files' names and contents, and the settings that decide how examples are read."""
        return f"{content_hash(self.files.files())} {json.dumps(self.settings, sort_keys=True)}"

    def _example(self, row: dict[str, Any], where: str) -> Example:
        text: dict[str, Any] = {key: self._text(key, row, where) for key in ("question", "answer")}
        style: Any = self._text("style_field", row, where) if self.settings["style_field"] else self.settings["style"]
        split: Any = self._text("split", row, where) if self.settings["split"] else None
        rejected = self._text("rejected", row, where) if self.settings["rejected"] else None
        options = self.settings["labels"] or self._list("options", row, where)
        try:
            return Example(**text, style=style, options=tuple(options), accepted=self._list("accepted", row, where),
                           rejected=rejected, split=split)  # fmt: skip
        except UserError as error:
            raise UserError(f"{where}: {error}") from error

    def _text(self, setting: str, row: dict[str, Any], where: str) -> str:
        field = self.settings[setting]
        return checked(row.get(field), field, row, where)

    def _list(self, setting: str, row: dict[str, Any], where: str) -> tuple[str, ...]:
        field = self.settings[setting]
        if field is None:
            return ()
        found = row.get(field)
        if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
            raise UserError(f"{where}: field {field!r} holds {found!r}, which is no list of texts")
        return tuple(found)
