"""The promote node: the files of one of two nodes, bit for bit, whatever their folders hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cl.graph.measurement_specs import PromoteSpec
from cl.graph.roles import CANDIDATE, GATE, INCUMBENT, Inputs
from cl.graph.stored import identity_of
from cl.hashing import digest
from cl.steps import promote
from tests.support.steps import context, stored


def state(folder: Path, *names: str, **result: Any) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name} of {folder.name}")
    return stored(folder, result, of=folder.name)


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*")
        if path.is_file() and path.name != "node.json"
    }  # fmt: skip


@pytest.mark.parametrize(("decision", "chosen"), [("accept", "new"), ("hold", "old"), ("rollback", "old")])
def test_what_was_decided_for_is_stored_whole(decision: str, chosen: str, tmp_path: Path) -> None:
    new = state(tmp_path / "new", "model.safetensors", "optimizer.safetensors", "adapters/t2/a", ledger="2", seconds=9)
    old = state(tmp_path / "old", "model.safetensors", "methods.safetensors", "adapters/t1/a", ledger="1", seconds=9)
    gate, step = stored(tmp_path / "gate", {"decision": decision}), context(tmp_path)
    result = promote.run(PromoteSpec(), Inputs({GATE: gate, CANDIDATE: new, INCUMBENT: old}), step)
    assert files(step.out) == files(tmp_path / chosen)
    key = digest(identity_of(tmp_path / chosen))
    assert result == {"decision": decision, "promoted": key, "ledger": {"new": "2", "old": "1"}[chosen]}


def test_the_base_model_has_no_ledger_and_a_promoted_state_has_its_own_key(tmp_path: Path) -> None:
    base, new = state(tmp_path / "base", "config.json", parameters=7), state(tmp_path / "new", "config.json")
    gate, step = stored(tmp_path / "gate", {"decision": "hold"}), context(tmp_path)
    result = promote.run(PromoteSpec(), Inputs({GATE: gate, CANDIDATE: new, INCUMBENT: base}), step)
    assert result == {"decision": "hold", "promoted": digest(identity_of(base))}
    again = stored(tmp_path / "again", result)
    step = context(tmp_path / "later")
    result = promote.run(PromoteSpec(), Inputs({GATE: gate, CANDIDATE: new, INCUMBENT: again}), step)
    assert result["promoted"] == digest(identity_of(base))
