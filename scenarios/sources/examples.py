"""Questions and answers from one's own JSON Lines files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cl.errors import UserError
from cl.tasks.example import Example, Style
from scenarios.sources.files import Files, checked, content_hash, json_lines


class Examples:
    """Examples of an instruction task, one JSON object to a line.

    path: file, folder or glob of `.jsonl` files, relative to the folder of the scenario's file; question, answer: the
    fields that hold them; style: what every answer looks like (see `Style`), unless `style_field` names a
    field that says it; options: field with the list of options or labels; accepted: field with further right answers;
    labels: the options of all lines, instead of a field; rejected: field with the worse answer, for preferences; split:
    field that says train, validation or test.
    Raises UserError, with file and line, for anything that is missing or is not text.
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
            raise UserError("labels: stands in place of the field `options`; give one of the two")
        self.files = Files(path, column=question, folder=folder)
        self.settings: dict[str, Any] = {
            "style": style, "question": question, "answer": answer, "style_field": style_field, "options": options,
            "accepted": accepted, "labels": labels, "split": split, "rejected": rejected,
        }  # fmt: skip
        self.licence, self.about = licence, about or path

    def documents(self) -> Iterator[Example]:
        """Yield the examples of all files."""
        for path in self.files.files():
            for where, row in json_lines(path):
                yield self._example(row, where)

    def fingerprint(self) -> str:
        """Hash of the files' names and contents, and the settings that decide what an example is."""
        return f"{content_hash(self.files.files())} {json.dumps(self.settings, sort_keys=True)}"

    def _example(self, row: dict[str, Any], where: str) -> Example:
        text = {key: self._text(key, row, where) for key in ("question", "answer")}
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
