"""The probe node: what a probe measures on a stored state, with the adapter that answers each set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.numpy import load_file, save_file

from cl.data.batches import collate
from cl.data.rows import rows
from cl.graph.measurement_specs import ProbeSpec
from cl.graph.roles import BASE, STATE, TOKENIZER, Inputs, data, reference
from cl.graph.specs import Compute, Packing
from cl.models import pretrained
from cl.models.forward import TokenLoss
from cl.probes.probe import History
from cl.registry import Named
from cl.steps import probe
from cl.training import validation
from tests.support.data_node import SEQUENCE, data_folder, ids
from tests.support.steps import context, stored
from tests.support.training import SEPARATOR, tiny

SETS = ("english", "german")


def spec(split: Literal["test", "validation"] = "test", sets: tuple[str, ...] = SETS) -> ProbeSpec:
    named = Named("tests.support.probes:FirstRow", {"factor": 2.0})
    return ProbeSpec(named, sets, 4, Packing(SEQUENCE, True), Compute("cpu", "fp32"), split=split)


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    pretrained.save(tiny(), tmp_path / "state")
    own = {STATE: tmp_path / "state", TOKENIZER: stored(tmp_path / "tokenizer", {"separator_id": SEPARATOR})}
    return Inputs(own | {data(name): data_folder(tmp_path / name, 3, seed) for seed, name in enumerate(SETS)})


def loss(model: Any) -> TokenLoss:
    return TokenLoss(model.eval(), SEPARATOR, boundaries=True)


def first(of: TokenLoss, folder: Path, name: str) -> float:
    """Twice the loss of the first row."""
    batch = collate([rows(folder, name, "test", SEQUENCE)[0]], SEPARATOR)
    with torch.no_grad():
        return 2.0 * float(of.total(batch))


def test_a_probe_measures_the_stored_state(inputs: Inputs, tmp_path: Path) -> None:
    found = probe.run(spec(), inputs, context(tmp_path))
    model = loss(tiny())
    expected = {name: {"nll": pytest.approx(first(model, inputs[data(name)], name), rel=1e-6)} for name in SETS}
    assert found == {"measures": expected}
    assert list(found["measures"]) == list(SETS)
    assert probe.run(spec(), inputs, context(tmp_path)) == found  # bit for bit


def test_only_the_sets_in_question_and_their_split_are_measured(inputs: Inputs, tmp_path: Path) -> None:
    found = probe.run(spec(sets=("german",)), inputs, context(tmp_path))
    assert list(found["measures"]) == ["german"]
    file = inputs[data("german")] / "tokens.safetensors"
    save_file(load_file(file) | {"validation": ids(3 * SEQUENCE + 1, seed=9)}, file)
    assert probe.run(spec(sets=("german",)), inputs, context(tmp_path)) == found
    assert probe.run(spec("validation", sets=("german",)), inputs, context(tmp_path)) != found


def test_a_set_with_an_adapter_of_its_own_is_measured_with_it(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {name: loss(tiny(seed=seed)) for seed, name in enumerate(SETS, 1)}

    def opened(spec: ProbeSpec, inputs: Inputs) -> Iterator[tuple[TokenLoss, list[str]]]:
        yield models["german"], ["german"]
        yield models["english"], ["english"]

    monkeypatch.setattr(probe, "opened", opened)
    found = probe.run(spec(), inputs, context(tmp_path))["measures"]
    assert list(found) == list(SETS)
    for name in SETS:
        assert found[name]["nll"] == pytest.approx(first(models[name], inputs[data(name)], name), rel=1e-6)
    assert found["english"] != found["german"]


def test_the_base_is_opened_beside_the_state_if_the_probe_needs_it(inputs: Inputs, tmp_path: Path) -> None:
    pretrained.save(tiny(seed=5), tmp_path / "base")
    both = Inputs({**inputs, BASE: tmp_path / "base"})
    wanted = replace(spec(), probe=Named("tests.support.probes:Moved", {}))
    found = probe.run(wanted, both, context(tmp_path))["measures"]
    state, base = (loss(tiny(seed=seed)) for seed in (0, 5))
    for name in SETS:
        rise = (first(state, inputs[data(name)], name) - first(base, inputs[data(name)], name)) / 2
        assert found[name]["rise"] == pytest.approx(rise, rel=1e-3)
    same = probe.run(wanted, Inputs({**inputs, BASE: inputs[STATE]}), context(tmp_path))["measures"]
    assert same == {name: {"rise": 0.0} for name in SETS}


def test_the_base_is_whole_where_each_set_has_an_adapter(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base is opened without `select`, from its own folder."""
    asked: list[tuple[object, Path]] = []

    def opened(spec: ProbeSpec, inputs: Inputs) -> Iterator[tuple[TokenLoss, list[str]]]:
        asked.append((spec.select, inputs[STATE]))
        yield from validation.opened(replace(spec, select=None), inputs)

    monkeypatch.setattr(probe, "opened", opened)
    pretrained.save(tiny(seed=5), tmp_path / "base")
    wanted = replace(spec(), probe=Named("tests.support.probes:Moved", {}), select={"german": "t2"})
    probe.run(wanted, Inputs({**inputs, BASE: tmp_path / "base"}), context(tmp_path))
    assert asked == [(None, tmp_path / "base"), ({"german": "t2"}, inputs[STATE])]


def test_a_probe_opens_the_state_that_it_compares_with_and_names_parts_of_sets(inputs: Inputs, tmp_path: Path) -> None:
    pretrained.save(tiny(seed=7), tmp_path / "earlier")
    asked = replace(spec(), probe=Named("tests.support.probes:Rise", {"factor": 2.0}), history=History(5))
    found = probe.run(asked, Inputs({**inputs, reference(0): tmp_path / "earlier"}), context(tmp_path))["measures"]
    now, before = loss(tiny()), loss(tiny(seed=7))
    for name in SETS:
        rise = first(now, inputs[data(name)], name) - first(before, inputs[data(name)], name)
        assert found[f"rise of {name}"] == {"nll": pytest.approx(rise, abs=1e-3), "seed": 5}
    assert list(found) == [f"rise of {name}" for name in SETS]
