"""Records of the store: what it knows of a stored node, and of a node that is accepted for another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self, TypedDict

from cl.graph.node import Identity


class File(TypedDict):
    """Size and hash of one file of a node."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class _Json:
    """An object with one JSON key per field."""

    @classmethod
    def of_json(cls, text: str | bytes) -> Self:
        """Read the object.

        Raises:
            ValueError: for text that is no JSON object with exactly these fields.
        """
        content = json.loads(text)
        expected = {each.name for each in fields(cls)}
        if not isinstance(content, dict) or set(content) != expected:
            raise ValueError(f"expected an object with {', '.join(sorted(expected))}")
        return cls(**content)

    def to_json(self) -> str:
        """Write the object; NaN and infinity raise ValueError."""
        return json.dumps(asdict(self), indent=1, allow_nan=False)


@dataclass(frozen=True)
class Record(_Json):
    """Record of a stored node, in `node.json`.

    Args:
        key: key of the node.
        name: name of the node in the experiment that computed it.
        identity: what the key is the hash of.
        result: JSON data that the node's computation returned.
        files: size in bytes and SHA-256 of each file, by path in the node's folder.
        artifacts: names of the files and folders that children can read.
        created: time of publication, UTC, ISO 8601.
    """

    key: str
    name: str
    identity: Identity
    result: dict[str, Any]
    files: Mapping[str, File]
    artifacts: list[str]
    created: str


@dataclass(frozen=True)
class Declaration(_Json):
    """Declaration that a key has the result of a stored node with other code: see `cl.execution.accept`.

    Args:
        of: key of the stored node.
        name: name of the node.
        kind: kind of the node.
        stored_code: code version of the stored node.
        code: code version of the node that is not stored.
        definitions: definitions that differ. None differ if only the parents are accepted ones.
        who: user and machine.
        when: time, UTC, ISO 8601.
    """

    of: str
    name: str
    kind: str
    stored_code: str
    code: str
    definitions: list[str]
    who: str
    when: str
