"""Roles of a node's parents. This module alone defines the text form of a role."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Role:
    """The role of a node's parent.

    Args:
        kind: `state`, `base`, `tokenizer`, `data`, `memory`, `vectors`, `queries`, `network`, `teacher`, `candidate`,
            `incumbent`, `gate`, `reference`, `manifest`, `trace`, `grid`, `truth`.
        place: number of the parent among several: index of a method in the node's list, or position in an order.
        name: name of a data set.
    """

    kind: str
    place: int | None = None
    name: str | None = None

    def __str__(self) -> str:
        parts = (self.kind, self.place, self.name)
        return "/".join(str(part) for part in parts if part is not None)

    @staticmethod
    def parse(text: str) -> Role:
        """Inverse of `str`: `teacher/0/english`, `data/english`, `memory/1`, `state`."""
        kind, _, rest = text.partition("/")
        if not rest:
            return Role(kind)
        first, _, name = rest.partition("/")
        if kind == "data" or not first.isdigit():
            return Role(kind, name=rest)
        return Role(kind, int(first), name or None)


STATE, BASE, TOKENIZER, MEMORY, GRID = map(Role, ("state", "base", "tokenizer", "memory", "grid"))
QUERIES = Role("queries")
NETWORK = Role("network")


CANDIDATE, INCUMBENT, GATE = map(Role, ("candidate", "incumbent", "gate"))
"""What a gate compares: a stage's end state and the last promoted state. Measurements have the name `items` as well."""


def reference(row: int) -> Role:
    """The role of the state of an earlier row of R."""
    return Role("reference", row)


def manifest(t: int) -> Role:
    """The role of the train node of stage t, of which only the notes on edited rows are read."""
    return Role("manifest", t)


def data(name: str) -> Role:
    """The role of a data set."""
    return Role("data", name=name)


class Inputs(Mapping[Role, Path]):
    """The folders of a node's parents by role."""

    def __init__(self, folders: Mapping[Role, Path]) -> None:
        self._folders = dict(folders)

    def __getitem__(self, role: Role) -> Path:
        return self._folders[role]

    def __iter__(self) -> Iterator[Role]:
        return iter(self._folders)

    def __len__(self) -> int:
        return len(self._folders)

    def datasets(self) -> dict[str, Path]:
        """Folders of all data sets by name."""
        return {role.name: path for role, path in self._folders.items() if role.kind == "data" and role.name}
