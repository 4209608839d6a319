"""Cache of a writer's texts on disk.

    identity   everything that decides a text apart from its prompt: model, revision, temperature, seed, …
    the file   FOLDER/<hash of the identity>.jsonl, one line per text; stored texts are never written again

Node keys hold the identity. Library versions, hardware and server are not part of it: a stored text is data, and
everyone with the file gets the same text. Without the file a text may differ by rounding, or if a server has changed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock

from cl.errors import UserError
from cl.hashing import digest

FOLDER = "~/.cache/cl/writers"


class Writer(Protocol):
    """A writer of texts, see `cl.models.chat_writers`."""

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides a text apart from its prompt, as JSON data; loads no model."""

    @property
    def batch(self) -> int:
        """Number of texts that are written, and then stored, at once."""

    def write(self, prompts: Sequence[str], attempt: int) -> list[str]:
        """Write a text for each prompt.

        Args:
            prompts: at most `batch` prompts.
            attempt: 0: greedy decoding; later attempts: sampling.

        Returns:
            One text per prompt; "" for a text that reached the token limit.
        """


class Texts:
    """Texts of a writer, taken from its file if they are stored there.

    Prompts are always divided into the same blocks of `batch`, whatever the file holds, so that a killed process
    continues with the same blocks. Only one process at a time writes to a file; the first version of a text stays.

    Args:
        writer: the writer.
        folder: folder of the files.

    Attributes:
        found: number of texts taken from the file.
        written: number of newly written texts.
        warnings: sentences about damaged lines.
    """

    def __init__(self, writer: Writer, folder: Path) -> None:
        self.writer, self.folder = writer, folder
        self.found = self.written = 0
        self.warnings: list[str] = []
        self._known: dict[str, str] = {}
        self._offset = self._lines = 0

    @cached_property
    def file(self) -> Path:
        """File of the writer's texts."""
        return self.folder / f"{digest(self.writer.identity)}.jsonl"

    def write(self, prompts: Sequence[str], attempt: int) -> list[str]:
        """Return a text for each prompt; the writer is called only for texts that the file lacks."""
        self._read()
        size = self.writer.batch
        return [
            text
            for start in range(0, len(prompts), size)
            for text in self._block(prompts[start : start + size], attempt)
        ]

    def _block(self, prompts: Sequence[str], attempt: int) -> list[str]:
        keys = [digest([self.writer.identity, prompt, attempt]) for prompt in prompts]
        if not all(key in self._known for key in keys):
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.file}.lock"):
                self._read(locked=True)
                missing = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in self._known}
                if missing:
                    made = self.writer.write(list(missing.values()), attempt)
                    self._append(missing, made, attempt)
                    self.written += len(missing)
                    self.found -= len(missing)
        self.found += len(prompts)
        return [self._known[key] for key in keys]

    def _append(self, prompts: Mapping[str, str], texts: Sequence[str], attempt: int) -> None:
        """Append lines in one system call; a line that an earlier call left incomplete is ended first."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        lines = [
            {
                "key": key,
                "prompt": hashlib.sha256(prompt.encode()).hexdigest(),
                "attempt": attempt,
                "text": text,
                "time": now,
                "generator": self.writer.identity,
            }
            for (key, prompt), text in zip(prompts.items(), texts, strict=True)
        ]
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        with self.file.open("ab+", buffering=0) as file:
            if file.tell() and file.seek(-1, os.SEEK_END) and file.read() != b"\n":
                content = b"\n" + content
            if file.write(content) != len(content):
                raise UserError(f"{self.file}: could not be written completely; free space on the disk")
        self._read(locked=True)

    def _read(self, locked: bool = False) -> None:
        """Read lines added since the last call; without the lock, skip a last line that may be incomplete."""
        if not self.file.is_file():
            return
        with self.file.open("rb") as file:
            file.seek(self._offset)
            *lines, rest = file.read().split(b"\n")
        self._offset += sum(len(line) + 1 for line in lines)
        for line in lines:
            self._take(line)
        if locked and rest:
            self._take(rest)
            self._offset += len(rest)

    def _take(self, line: bytes) -> None:
        if not line:  # the end of a damaged line
            return
        self._lines += 1
        try:
            entry = json.loads(line)
            self._known.setdefault(str(entry["key"]), str(entry["text"]))
        except (ValueError, LookupError, TypeError):
            self.warnings.append(f"{self.file}, line {self._lines}: is damaged and left out; its text is written anew")
