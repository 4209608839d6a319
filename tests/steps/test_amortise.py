"""A bank of modulations in a run: the model is not touched, the bank holds no question, and its bytes are charged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from cl.errors import UserError
from cl.graph.measurement_specs import AmortiseSpec
from cl.graph.roles import NETWORK, STATE, data
from cl.models import modulation, pretrained
from tests.support.graph import by_label
from tests.support.nodes import spec_of
from tests.support.reading import SETS, write_reading
from tests.support.training import plan, run, write_strategy

BANK = {"mac_lite": {"of": "meta", "steps": 3, "batch": 4, "inner": 16, "vectors": 2, "prefix": 3}}


def test_the_bank_grows_and_its_network_is_trained_once(tmp_path: Path) -> None:
    folder = write_reading(tmp_path, meta=True, strategies={"mac_lite": BANK, "closed_book": None})
    runs = by_label(plan(folder)[0])
    bank, closed = runs["mac_lite"], runs["closed_book"]
    assert [stage.node.key for stage in bank.stages] == [stage.node.key for stage in closed.stages]
    assert bank.rows[1].key == closed.rows[1].key  # no document is read yet
    rows = [bank.rows[t].parents[data(name)] for t in (2, 3) for name in ("first", "second", "unread")]
    assert {row.kind for row in rows} == {"modulate"}
    assert bank.rows[2].parents[data("form")].kind == "data"
    assert len({row.parents[NETWORK].key for row in rows}) == 1
    states = {row.parents[STATE].key for row in (*rows, bank.rows[2], bank.rows[3])}
    assert states == {bank.stages[0].node.key}  # the model after the form of answers, and no other
    memory = [[str(r.name) for r in row.parents if r.kind == "memory"] for row in (rows[0], rows[3])]
    assert memory == [["first"], ["first", "second"]]
    (few,) = plan(folder, "--strategies={mac_lite: {mac_lite: {top_k: 2}}}", "--strategy.mac_lite.steps=3")[0].runs
    assert "top_k" not in spec_of(few.rows[2].parents[data("first")].parents[NETWORK], AmortiseSpec).method.settings


@pytest.mark.slow
def test_a_run_with_a_bank_leaves_the_model_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, freeze = list[Any](), modulation.frozen

    def kept(model: Any) -> Any:
        opened.append(model)
        return freeze(model)

    monkeypatch.setattr(modulation, "frozen", kept)
    folder = write_reading(tmp_path, meta=True, strategies={"mac_lite": BANK, "closed_book": None})
    found = {each["strategy"]: each for each in run(folder)["runs"]}
    bank, closed = found["mac_lite"], found["closed_book"]
    assert bank["matrix"]["1"] == closed["matrix"]["1"]
    assert bank["matrix"]["3"]["form"] == closed["matrix"]["3"]["form"]  # the model is the same, and shows it
    assert bank["matrix"]["3"]["first"] != closed["matrix"]["3"]["first"]
    figures = bank["memory"]["3"]["first"]
    assert figures["stored"] == len(SETS["first"]) + len(SETS["second"])
    assert figures["bytes"] == figures["stored"] * 2 * 16 * 4
    assert figures["read"] == figures["alone"] + 3
    graph, store = plan(folder)
    row = by_label(graph)["mac_lite"].rows[3]
    node = row.parents[data("first")]
    before = pretrained.load(store.path(row.parents[STATE])).state_dict()
    assert len(opened) == 1 + 2 * 4  # one trains the network, the others read with it: two rows of four sets
    assert all(value.equal(model.state_dict()[key]) for model in opened for key, value in before.items())
    network = node.parents[NETWORK]
    assert not store.path(network).joinpath("model.safetensors").exists()
    assert "held_out" in store.result(network)
    assert store.result(network)["bytes"] == sum(
        value.numel() * 4 for value in load_file(store.path(network) / "network.safetensors").values()
    )
    plain, behind = (load_file(store.path(each) / "tokens.safetensors") for each in (graph.data["first"], node))
    assert all(plain[key].equal(behind[key]) for key in plain)  # the same questions, token by token


@pytest.mark.parametrize(
    ("settings", "methods", "message"),
    [
        ({"of": "mets"}, ["untrained"], r"mac_lite.of: general set of toy: 'mets' is unknown; did you mean 'meta'"),
        ({"of": "meta"}, ["constant"], r"mac_lite: the model is trained on beside the bank; list `untrained: "),
        ({"of": "meta"}, ["constant", "lora"], r"mac_lite: reads whole models; leave the method that adds adapters"),
        ({"of": "meta"}, ["untrained", "bm25"], r"bm25 and mac_lite both keep a memory beside the weights; keep one"),
    ],
)
def test_what_cannot_stand_beside_a_bank_is_refused(
    tmp_path: Path, settings: dict[str, str], methods: list[str], message: str
) -> None:
    folder = write_reading(tmp_path, meta=True, strategies={"own": None})
    write_strategy(folder, "own", [*methods, {"mac_lite": settings}])
    with pytest.raises(UserError, match=message):
        plan(folder)


def test_a_server_reads_no_bank(tmp_path: Path) -> None:
    folder = write_reading(tmp_path, meta=True, strategies={"mac_lite": BANK})
    with pytest.raises(UserError, match=r"evaluation\.engine: vllm reads no embeddings of mac_lite; use transformers"):
        plan(folder, "--evaluation.engine=vllm")
