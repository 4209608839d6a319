"""The gate node: paired differences by hand, what counts as retained, what is recorded, and what may not decide."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cl.errors import UserError
from cl.graph.measurement_specs import GateSpec
from cl.graph.roles import CANDIDATE, INCUMBENT, Inputs, Role
from cl.hashing import digest
from cl.metrics.certificate import Certificate, Change
from cl.registry import Named
from cl.steps import gate
from tests.support.steps import context, stored

PROMOTION: dict[str, Any] = {"gain": 0.5, "margin": 0.1}
Values = Mapping[str, Sequence[float]]


def identified(folder: Path, result: Mapping[str, Any], **spec: Any) -> Path:
    """A stored node with code and libraries."""
    stored(folder, result)
    identity = {"spec": spec, "libraries": {"torch": "2"}, "code": folder.name}
    (folder / "node.json").write_text(json.dumps({"identity": identity, "result": result}), encoding="utf-8")
    return folder


def gated(
    folder: Path, candidate: Values, incumbent: Values, split: str = "validation", taken: Sequence[str] = (), **own: Any
) -> Certificate:
    """The certificate of stage 3, task `new`, after tasks `a` and `b`. taken: tasks in the incumbent's ledger."""
    sets = [name for name in candidate if name not in ("new", "a", "b")]
    spec = GateSpec(3, "new", ("a", "b"), tuple(sets), Named("promotion", PROMOTION | own))
    ledger = json.dumps({task: {} for task in taken})
    inputs = {
        CANDIDATE: identified(folder / "candidate", {}),
        INCUMBENT: identified(folder / "incumbent", {"ledger": ledger} if taken else {}),
        Role("candidate", name="items"): identified(folder / "new items", {"items": candidate}, split=split),
        Role("incumbent", name="items"): identified(folder / "old items", {"items": incumbent}, split=split),
    }
    return Certificate.of_json(gate.run(spec, Inputs(inputs), context(folder)))


def test_differences_are_of_pairs_and_positive_where_the_loss_falls(tmp_path: Path) -> None:
    candidate = {"new": [1.0] * 20, "kept": [2.0 + at for at in range(20)]}
    incumbent = {"new": [2.5] * 20, "kept": [1.95 + at for at in range(20)]}  # of very unequal items, equally worse
    found = gated(tmp_path, candidate, incumbent)
    assert found.verification == Change(1.5, 1.5, 1.5, 20)
    kept = found.regression["kept"]
    assert (kept.mean, kept.low, kept.high) == pytest.approx((-0.05, -0.05, -0.05))
    assert found.decision == "accept"
    assert gated(tmp_path, candidate, incumbent, margin=0.04).decision == "rollback"


def test_a_score_is_better_where_it_is_higher(tmp_path: Path) -> None:
    found = gated(tmp_path, {"new": [1.0] * 20}, {"new": [0.25] * 20}, metric="strict")
    assert (found.verification.mean, found.decision) == (0.75, "accept")


def test_an_interval_that_straddles_the_margin_holds(tmp_path: Path) -> None:
    candidate = {"new": [0.0] * 30, "kept": [0.0, 0.25] * 15}  # mean -0.125, wide
    incumbent = {"new": [1.0] * 30, "kept": [0.0, 0.0] * 15}
    found = gated(tmp_path, candidate, incumbent)
    assert found.regression["kept"].low < -0.1 < found.regression["kept"].high
    assert found.decision == "hold"
    assert gated(tmp_path, candidate, incumbent, interval=0.1).decision == "rollback"  # a narrow one shows harm


def test_tasks_that_were_not_taken_need_not_be_retained(tmp_path: Path) -> None:
    candidate, incumbent = (
        {"new": [0.0] * 20, "a": [0.0] * 20, "b": [9.0] * 20},
        dict.fromkeys(("new", "a", "b"), [1.0] * 20),
    )
    assert list(gated(tmp_path, candidate, incumbent, taken=["a"]).regression) == ["a"]
    assert gated(tmp_path, candidate, incumbent, taken=["a"]).decision == "accept"
    assert gated(tmp_path, candidate, incumbent, taken=["a", "b"]).decision == "rollback"
    assert gated(tmp_path, candidate, incumbent).regression == {}  # the incumbent is the base model


def test_the_certificate_names_what_was_compared_and_what_was_registered(tmp_path: Path) -> None:
    found = gated(tmp_path, {"new": [0.0] * 20, "kept": [1.0] * 25}, {"new": [1.0] * 20, "kept": [1.0] * 25})
    assert (found.t, found.target) == (3, "new")
    assert found.window == {"split": "validation", "items": {"new": 20, "kept": 25}}
    assert found.method == {"promotion": PROMOTION}
    keys = {name: digest(json.loads((tmp_path / name / "node.json").read_text())["identity"])
            for name in ("candidate", "incumbent", "new items", "old items")}  # fmt: skip
    assert found.rollback_point == keys["incumbent"]
    assert found.audit == {
        "candidate": keys["candidate"], "candidate/items": keys["new items"], "incumbent/items": keys["old items"],
        "libraries": {"torch": "2"}, "code": "new items",
    }  # fmt: skip


def test_the_point_to_roll_back_to_is_the_state_that_was_promoted_last(tmp_path: Path) -> None:
    promoted = identified(tmp_path / "promoted", {"promoted": "k" * 20})
    assert gate.promoted_key(promoted) == "k" * 20


def test_test_data_may_not_decide(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="promotion: the items are of test data, by which nothing may be decided"):
        gated(tmp_path, {"new": [0.0] * 20}, {"new": [1.0] * 20}, split="test")


def test_too_few_items_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="promotion: new has 19 validation items and an interval needs 20; give more"):
        gated(tmp_path, {"new": [0.0] * 19}, {"new": [1.0] * 19})
