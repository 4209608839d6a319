"""Records of the store: what it knows of a stored node, and of a node that is accepted for another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self, TypedDict

from cl.errors import UserError
from cl.graph.node import Identity
from cl.hashing import digest


class DamageError(UserError):
    """A stored node is not what was written.

    Args:
        key: key of the node.
        wrong: what is wrong with it, one sentence per file.
    """

    def __init__(self, key: str, wrong: list[str]) -> None:
        super().__init__(f"store: node {key} is damaged: {wrong[0]}; `cl run` computes it again")
        self.key, self.wrong = key, wrong


class File(TypedDict):
    """Size and hash of one file of a node."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class _Json:
    """An object with one JSON key per field, and under `seal` the hash of its content."""

    @classmethod
    def of_json(cls, text: str | bytes) -> Self:
        """Read the object. Objects of earlier versions have no seal.

        Raises:
            ValueError: for text that is no JSON object with exactly these fields, and for content that was changed.
        """
        try:
            content = json.loads(text)
        except RecursionError as error:
            raise ValueError("is nested too deep") from error
        expected = {each.name for each in fields(cls)}
        if not isinstance(content, dict) or set(content) - {"seal"} != expected:
            raise ValueError(f"expected an object with {', '.join(sorted(expected))}")
        seal = content.pop("seal", None)
        if seal is not None and seal != digest(content):
            raise ValueError("its content was changed")
        return cls(**content)

    def to_json(self) -> str:
        """Write the object; NaN and infinity raise ValueError."""
        content = json.loads(json.dumps(asdict(self), allow_nan=False))
        return json.dumps({"seal": digest(content), **content}, indent=1)


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
