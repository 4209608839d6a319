"""Texts of a writer, kept on disk once they are written.

    identity   what decides a text beside its prompt: model, revision, temperature, seed, …; it stands in keys
    the file   FOLDER/<hash of the identity>.jsonl, a line per text; what is there is not written or asked for again

Library versions, hardware and server are no part of an identity: a text once written is data. Whoever has the file gets
the same; without it a text may differ by rounding, or by what a server holds now.
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
    """What writes texts."""

    @property
    def identity(self) -> dict[str, Any]:
        """What decides a text beside its prompt, as JSON data; nothing is loaded."""

    @property
    def batch(self) -> int:
        """Texts that are written, and kept, at once."""

    def write(self, prompts: Sequence[str], attempt: int) -> list[str]:
        """A text for each of at most `batch` prompts: attempt 0 greedy, later ones sampled; "" for one cut off."""


class Texts:
    """What a writer writes, out of its file where it stands there.

    found, written: texts that came out of the file, and that did not; warnings: sentences about damaged lines. Blocks
    of `batch` prompts are formed whatever the file holds, so that a killed process goes on with the same ones. One
    process at a time writes for a generator; a text has one version, the first.
    """

    def __init__(self, writer: Writer, folder: Path) -> None:
        self.writer, self.folder = writer, folder
        self.found = self.written = 0
        self.warnings: list[str] = []
        self._known: dict[str, str] = {}
        self._offset = self._lines = 0

    @cached_property
    def file(self) -> Path:
        """Where the generator's texts are."""
        return self.folder / f"{digest(self.writer.identity)}.jsonl"

    def write(self, prompts: Sequence[str], attempt: int) -> list[str]:
        """A text for each prompt. The model is loaded, or the endpoint called, for what the file does not have."""
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
        """Add lines by one call of the system, after the end of one that an earlier call could not complete."""
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
                raise UserError(f"{self.file}: could not be written in full; make room on the disk")
        self._read(locked=True)

    def _read(self, locked: bool = False) -> None:
        """Take up lines added since the last time; without the lock not one that another process may be writing."""
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
        if not line:  # the end of a damaged one
            return
        self._lines += 1
        try:
            entry = json.loads(line)
            self._known.setdefault(str(entry["key"]), str(entry["text"]))
        except (ValueError, LookupError, TypeError):
            self.warnings.append(f"{self.file}, line {self._lines}: is damaged and left out; its text is written anew")
