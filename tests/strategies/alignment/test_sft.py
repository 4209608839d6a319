"""Alignment end to end: supervised fine-tuning, DPO after it, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cl.errors import UserError
from cl.graph.roles import STATE
from cl.graph.roles import data as data_role
from tests.support.mixture import DPO, SFT, aligned, write_mixture
from tests.support.nodes import trained
from tests.support.training import plan, run, write_strategy


def test_the_stages_of_a_run_and_what_they_stand_on(tmp_path: Path) -> None:
    graph, _ = plan(aligned(tmp_path))
    (chain,) = graph.runs
    nodes = {stage.stage.name: stage.node for stage in chain.stages}
    assert list(nodes) == ["english", "english sft", "english sft dpo", "german", "german sft", "german sft dpo"]
    assert nodes["german"].parents[STATE] is nodes["english"]
    chosen = nodes["english sft"].parents[data_role("chat")]
    pairs = nodes["english sft dpo"].parents[data_role("liked")]
    assert {chosen.kind, pairs.kind} == {"select"}
    assert chosen.parents[STATE] is pairs.parents[STATE] is nodes["english"]  # what was learned, not yet aligned
    assert chain.rows[1].parents[STATE] is nodes["english sft dpo"]
    assert [method.name for method in trained(nodes["english sft"]).methods] == ["sft"]
    plain, _ = plan(aligned(tmp_path, SFT), "--strategies={aligned: {sft: {rate: 0.1}}}")
    again = {stage.stage.name: stage.node for stage in plain.runs[0].stages}
    assert again["english"].key == nodes["english"].key
    assert again["english sft"].parents[data_role("chat")].key == chosen.key  # a rate changes no choice
    assert again["english sft"].key != nodes["english sft"].key


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [[], ["lora"]])
def test_a_run_with_alignment_and_its_curve(adapter: list[str], tmp_path: Path) -> None:
    found = run(aligned(tmp_path, *adapter, SFT, DPO))
    (result,) = found["runs"]
    stages = {stage["name"]: stage for stage in result["stages"]}
    assert stages["english sft"]["points"][-1]["seen"].keys() == {"chat"}
    dpo = stages["english sft dpo"]["points"]
    assert dpo[-1]["loss"] is None
    assert {"dpo", "dpo/margin", "dpo/preferred"} <= dpo[-1]["terms"].keys()
    assert dpo[1]["terms"]["dpo"] == pytest.approx(0.6931, abs=1e-3)  # the first step is at the reference
    assert set(result["matrix"]) == {"0", "1", "2"}


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"sft": {"of": "liked"}}, "sft.of: liked is a set of kind preference; name one of kind instruction"),
        ({"dpo": {"of": "chat"}}, "dpo.of: chat is a set of kind instruction; name one of kind preference"),
        ({"sft": {"of": "chat", "score": "nll"}}, "score"),
        ({"sft": {"of": "chatt"}}, "sft.of: general set of toy: 'chatt' is unknown; did you mean 'chat'"),
        ({"sft": {"of": "german"}}, "sft.of: general set of toy: 'german' is unknown"),
    ],
)
def test_sets_that_cannot_align_are_refused_while_planning(method: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        plan(aligned(tmp_path, method))


@pytest.mark.parametrize("stream", ["wsd", "scratch", "joint"])
def test_what_changes_the_stream_stands_before_what_aligns_it(stream: str, tmp_path: Path) -> None:
    write_mixture(tmp_path, strategies={"late": None})
    write_strategy(tmp_path, "late", [SFT, stream])
    with pytest.raises(UserError, match=rf"strategies.late: {stream} changes the stream; list it before"):
        plan(tmp_path)
    write_strategy(tmp_path, "late", [stream, SFT])
    graph, _ = plan(tmp_path)
    assert graph.runs[0].stages[-1].stage.phase == "sft"


def test_adapters_that_are_kept_for_their_task_are_not_aligned(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sft: adapters of life alone"):
        plan(aligned(tmp_path, {"lora": {"life": "alone"}}, SFT))
