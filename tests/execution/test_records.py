"""Records of the store: written and read whole, and refused where they are not."""

from __future__ import annotations

import pytest

from cl.execution.records import Record
from cl.graph.node import Identity

IDENTITY: Identity = {"kind": "base", "spec": {}, "parents": {}, "libraries": {}, "code": "a"}


def record(loss: float = 0.5) -> Record:
    return Record("key", "name", IDENTITY, {"loss": loss}, {"a": {"bytes": 1, "sha256": "f"}}, ["a"], "2026-01-01")


def test_a_record_survives_the_file() -> None:
    assert Record.of_json(record().to_json()) == record()


@pytest.mark.parametrize("text", ['{"key": "k"}', "[]", record().to_json()[:-9], record().to_json()[:-1] + ', "b": 1}'])
def test_a_record_with_other_fields_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected an object with artifacts, created|char \d+"):
        Record.of_json(text)


def test_no_result_is_nan() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        record(float("nan")).to_json()
