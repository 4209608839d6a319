"""The nodes that `cl order` asks for."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

from cl.config import loading
from cl.errors import UserError
from cl.execution.store import Store
from cl.graph import planner
from cl.sample_order import plan
from tests.support.order_command import run, toy


@pytest.mark.slow
def test_nothing_is_computed_twice_and_the_given_order_comes_out_as_trained(tmp_path: Path) -> None:
    folder = toy(tmp_path)
    run(folder, "record")
    store = Store(str(folder / "store"))
    before = {record.key: record.created for record in store.records()}
    assert sorted(r.identity["kind"] for r in store.records()).count("trace") == 2
    found = run(folder, "estimate", "--order.orders=[given, reversed, [7,6,5,4,3,2,1,0]]")["estimates"]
    assert found[1]["order"] == found[2]["order"] == [7, 6, 5, 4, 3, 2, 1, 0]
    assert found[1]["loss"] == pytest.approx(found[2]["loss"], abs=1e-5)  # two rows of one product may round apart
    assert before.items() <= {record.key: record.created for record in store.records()}.items()
    with contextlib.chdir(folder):
        (each,) = plan.build(planner.build(loading.load("toyexp.yaml")))
    wide = store.result(each.references[0])["validation"]
    assert set(wide) == {"english", "german"}
    assert np.isclose(found[0]["loss"], np.mean([wide["english"], wide["german"]]), atol=1e-4)


@pytest.mark.slow
def test_later_tasks_alone_start_from_the_state_before(tmp_path: Path) -> None:
    run(toy(tmp_path), "record", "--order.first=2")
    kinds = [record.identity["kind"] for record in Store(str(tmp_path / "store")).records()]
    assert (kinds.count("train"), kinds.count("trace")) == (1, 2)


@pytest.mark.slow
def test_adapters_are_reordered_too(tmp_path: Path) -> None:
    folder = toy(tmp_path, "lora", ["rewarm_cosine", {"lora": {"r": 2}}], train={"lr": 1e-3})
    answer = run(folder, "validate", "--order.held_out=3")
    assert answer["agreement"][0]["path"] < 0.8


def test_what_trains_nothing_has_no_batches_to_reorder(tmp_path: Path) -> None:
    folder = toy(tmp_path, "still", ["untrained"])
    with contextlib.chdir(folder):
        graph = planner.build(loading.load("toyexp.yaml"))
    with pytest.raises(UserError, match="still: trains nothing, so no batches can be reordered; leave it out"):
        plan.build(graph)
