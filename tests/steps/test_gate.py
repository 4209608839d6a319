"""The gate node: which of two states is kept, and what may not decide it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cl.errors import UserError
from cl.graph.roles import Inputs, Role
from cl.graph.specs import GateSpec
from cl.steps import gate
from tests.support.steps import context, stored

EASY = {"nll": 10.0, "tokens": 10, "bytes": 20.0, "scores": {"strict": 0.9}, "items": 5}  # loss 1
HARD = {"nll": 30.0, "tokens": 10, "bytes": 20.0, "scores": {"strict": 0.4}, "items": 5}  # loss 3


def state(folder: Path, name: str) -> Path:
    found = stored(folder / name, {"parameters": 7, "of": name})
    (found / "adapter").mkdir()
    (found / "adapter" / "weights.safetensors").write_text(f"weights of the {name}")
    return found


def gated(
    folder: Path,
    candidate: Mapping[str, Any],
    incumbent: Mapping[str, Any],
    spec: GateSpec,
    split: str = "validation",
) -> tuple[dict[str, Any], str]:
    """What the gate returns, and the weights that it stores. candidate, incumbent: cells by set."""
    inputs = {}
    for name, cells in (("candidate", candidate), ("incumbent", incumbent)):
        inputs[Role(name)] = state(folder, name)
        inputs[Role(name, name="scores")] = stored(folder / f"{name} scores", {"cells": cells}, split=split)
    step = context(folder)
    result = gate.run(spec, Inputs(inputs), step)
    assert sorted(path.name for path in step.out.iterdir()) == ["adapter"]  # the record is written by the store
    return result, (step.out / "adapter" / "weights.safetensors").read_text()


@pytest.mark.parametrize("metric", ["loss", "strict"])
def test_the_better_state_is_kept_whatever_the_direction_of_the_metric(metric: str, tmp_path: Path) -> None:
    spec = GateSpec(metric, ("a",))
    better, stored_weights = gated(tmp_path / "better", {"a": EASY}, {"a": HARD}, spec)
    assert (better["chosen"], better["of"], stored_weights) == ("candidate", "candidate", "weights of the candidate")
    assert better["parameters"] == 7
    worse, stored_weights = gated(tmp_path / "worse", {"a": HARD}, {"a": EASY}, spec)
    assert (worse["chosen"], worse["of"], stored_weights) == ("incumbent", "incumbent", "weights of the incumbent")
    expected = {"loss": {"candidate": 3.0, "incumbent": 1.0}, "strict": {"candidate": 0.4, "incumbent": 0.9}}
    assert worse["means"] == expected[metric]


def test_the_mean_over_the_sets_decides_and_other_sets_do_not(tmp_path: Path) -> None:
    candidate, incumbent = {"a": EASY, "b": HARD, "c": HARD}, {"a": HARD, "b": HARD, "c": EASY}
    result, _ = gated(tmp_path, candidate, incumbent, GateSpec("loss", ("a", "b")))
    assert (result["chosen"], result["means"]) == ("candidate", {"candidate": 2.0, "incumbent": 3.0})


@pytest.mark.parametrize(("margin", "chosen"), [(0.0, "candidate"), (1.9, "candidate"), (2.0, "incumbent")])
def test_the_candidate_must_be_better_by_more_than_the_margin(margin: float, chosen: str, tmp_path: Path) -> None:
    result, _ = gated(tmp_path, {"a": EASY}, {"a": HARD}, GateSpec("loss", ("a",), margin))
    assert result["chosen"] == chosen


def test_of_equal_states_the_incumbent_stays(tmp_path: Path) -> None:
    assert gated(tmp_path, {"a": EASY}, {"a": EASY}, GateSpec("strict", ("a",)))[0]["chosen"] == "incumbent"


def test_test_data_may_not_choose(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gate: the scores are of test data, by which nothing may be chosen"):
        gated(tmp_path, {"a": EASY}, {"a": HARD}, GateSpec("loss", ("a",)), split="test")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (GateSpec("bleu", ("a",)), "gate: a has no score 'bleu'; it has loss, strict"),
        (GateSpec("loss", ("b",)), "gate: b has no score 'loss'; it has none"),
    ],
)
def test_a_score_that_was_not_measured_is_told(spec: GateSpec, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        gated(tmp_path, {"a": EASY}, {"a": HARD}, spec)
