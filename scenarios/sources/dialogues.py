"""Dialogues of several turns from the user's files, in the forms in which chat data are shared."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

from cl.errors import UserError
from cl.tasks.example import Example, Style
from scenarios.sources.files import Files, content_hash
from scenarios.sources.tables import TABLES, checked, kind, rows

Form = Literal["openai", "sharegpt", "alpaca"]
FIELDS: dict[str, tuple[str, str, str]] = {
    "openai": ("messages", "role", "content"),
    "sharegpt": ("conversations", "from", "value"),
}
"""By form: field of the turns, and the fields of a turn for its role and its text."""
ROLES = {
    "system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant",
    "chatgpt": "assistant", "bing": "assistant", "bard": "assistant", "model": "assistant",
    "function_call": "assistant", "tool": "tool", "function": "tool", "observation": "tool",
    "function_response": "tool",
}  # fmt: skip
SHAPE = re.compile("(ua(t+a)*)+")
"""First letters of the roles of a dialogue after its system turn."""


class Dialogues:
    """Examples from dialogues: an assistant turn is the answer, all turns before it are read.

    A dialogue may begin with a system turn; then user and assistant take turns, and the assistant is last. After a call
    of a function, results of tools and the assistant's next turn may follow. The field `tools` of a row lists the
    functions of its dialogue, which the chat template renders. A call in the field `tool_calls` is learned as JSON
    text, `{"name": …, "arguments": …}`, and not in the markup of a template. Raises UserError, with file and place, for
    a dialogue of another shape.

    Args:
        path: file, folder or glob of `.jsonl`, `.json` or `.parquet` files, relative to `folder`.
        form: `openai`: `messages` with `role` and `content`; `sharegpt`: `conversations` with `from` and `value`;
            `alpaca`: fields `instruction`, `input` (may be empty) and `output`, which are one turn.
        field: field with the turns, in place of the form's.
        learn: `last`: one example per dialogue, its last assistant turn; `all`: one example per assistant turn, each
            with the turns before it, so that every assistant turn is learned once.
        style: form of all answers, see `cl.tasks.example.Style`.
        licence: licence, in one line.
        about: description, in one line; by default the path.
        folder: folder of the scenario's file.
    """

    states_splits = False

    def __init__(
        self,
        path: str,
        form: Form = "openai",
        field: str | None = None,
        learn: Literal["all", "last"] = "all",
        style: Style = "phrase",
        licence: str = "not stated",
        about: str = "",
        folder: str = ".",
    ) -> None:
        if field is not None and form == "alpaca":
            raise UserError("field: names the field of turns, which the form alpaca does not have; leave it out")
        self.files = Files(path, column="", folder=folder)
        self.form, self.learn, self.style = form, learn, style
        self.field = field or FIELDS.get(form, ("",))[0]
        self.licence, self.about = licence, about or path

    def documents(self) -> Iterator[Example]:
        """Yield the examples of all files."""
        for path in self.files.files():
            if kind(path) not in TABLES:
                raise UserError(f"path: {path} is none of {', '.join(TABLES)}; use a glob such as *.jsonl")
            for where, row in rows(path):
                yield from self._examples(row, where)

    def size(self) -> int:
        """Bytes of text, roughly, from the sizes of the files."""
        return self.files.size()

    def fingerprint(self) -> str:
        """Hash of the files' names and contents, and the settings that decide how dialogues are read."""
        settings = json.dumps([self.form, self.field, self.learn, self.style])
        return f"{content_hash(self.files.files())} {settings}"

    def _examples(self, row: dict[str, Any], where: str) -> Iterator[Example]:
        turns = self._alpaca(row, where) if self.form == "alpaca" else self._turns(row, where)
        first = 1 if turns and turns[0][0] == "system" else 0
        if not SHAPE.fullmatch("".join(role[0] for role, _ in turns[first:])):
            found = ", ".join(role for role, _ in turns) or "none"
            raise UserError(f"{where}: turns must alternate from user to assistant and end there, not {found}")
        turns = [*_tools(row, where), *turns]
        answers = [place for place, (role, _) in enumerate(turns) if role == "assistant"]
        for place in answers if self.learn == "all" else answers[-1:]:
            asked: Literal["user", "tool"] = "tool" if turns[place - 1][0] == "tool" else "user"
            earlier = tuple(turns[: place - 1])
            try:
                yield Example(turns[place - 1][1], turns[place][1], self.style, history=earlier, asked=asked)
            except UserError as error:
                raise UserError(f"{where}: {error}") from error

    def _alpaca(self, row: dict[str, Any], where: str) -> list[tuple[str, str]]:
        """Instruction and input, if there is one, as one user turn."""
        instruction, output = (checked(row.get(name), name, row, where) for name in ("instruction", "output"))
        given = checked(row.get("input") or "", "input", {**row, "input": ""}, where)
        return [("user", f"{instruction}\n\n{given}" if given.strip() else instruction), ("assistant", output)]

    def _turns(self, row: dict[str, Any], where: str) -> list[tuple[str, str]]:
        _, role_field, text_field = FIELDS[self.form]
        turns = row.get(self.field)
        if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
            raise UserError(f"{where}: field {self.field!r} holds {str(turns)[:60]!r}, which is no list of turns")
        found = []
        for turn in turns:
            role = checked(turn.get(role_field), role_field, turn, where)
            if role not in ROLES:
                raise UserError(f"{where}: a turn has the role {role!r}, which is none of {', '.join(ROLES)}")
            calls = _calls(turn["tool_calls"], where) if turn.get("tool_calls") else []
            said = (
                [] if calls and not turn.get(text_field) else [checked(turn.get(text_field), text_field, turn, where)]
            )
            found.append((ROLES[role], "\n".join([*said, *calls])))
        return found


def _tools(row: dict[str, Any], where: str) -> list[tuple[str, str]]:
    """The functions of a row as a first turn, if it has some; as a list or as the text of a JSON list."""
    tools = row.get("tools") or []
    try:
        tools = json.loads(tools) if isinstance(tools, str) else tools
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: field 'tools' is no JSON: {error}; write a list of functions") from error
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise UserError(f"{where}: field 'tools' holds {str(tools)[:60]!r}, which is no list of functions")
    return [("tools", json.dumps(tools, ensure_ascii=False))] if tools else []


def _calls(calls: Any, where: str) -> list[str]:
    """Calls of OpenAI's field `tool_calls` as JSON text, one each."""
    try:
        functions = [call["function"] for call in calls]
        given = [(each["name"], each["arguments"]) for each in functions]
        parsed = [(name, json.loads(value) if isinstance(value, str) else value) for name, value in given]
    except (TypeError, KeyError, json.JSONDecodeError) as error:
        raise UserError(
            f"{where}: field 'tool_calls' holds {str(calls)[:60]!r}, which are no calls; write name and arguments"
        ) from error
    return [json.dumps({"name": name, "arguments": value}, ensure_ascii=False) for name, value in parsed]
