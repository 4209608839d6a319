"""A scenario of two tasks and a set that is only measured, on files of short lines."""

from __future__ import annotations

from pathlib import Path

DEFINITION = """
summary: two tasks
version: 3
tasks:
  first:
    limit: 1MB
    sources:
      - {source: files, path: a.txt, separator: "\\n", limit: 2kB}
  second:
    sources:
      - {source: files, path: a.txt, separator: "\\n"}
      - {source: files, path: b.txt, separator: "\\n", licence: CC0-1.0, about: my text}
retain:
  kept:
    sources:
      - {source: files, path: b.txt, separator: "\\n"}
split: {validation: 0.1, test: 0.2, seed: 5}
"""


def write_two(folder: Path) -> str:
    """The scenario and its files; returns its path."""
    (folder / "a.txt").write_text("\n".join(f"first text {n}" for n in range(200)), encoding="utf-8")
    (folder / "b.txt").write_text("\n".join(f"second text {n}" for n in range(200)), encoding="utf-8")
    (folder / "two.yaml").write_text(DEFINITION, encoding="utf-8")
    return str(folder / "two.yaml")
