"""The base of rotary embeddings and rows of one task's own length: in the configuration, in what is stored, in R."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch

from cl.errors import UserError
from cl.graph.measurement_specs import EvaluateSpec
from cl.graph.node import Node
from cl.graph.roles import TOKENIZER, data
from cl.graph.specs import TrainSpec
from cl.models import pretrained
from strategies.lengths.rope_base import RopeBase
from tests.support.training import dropout_model, execute, plan, tiny, write_strategy, write_toy

T = TypeVar("T")
LONG = {"german": {"train": {"sequence": 64, "batch": 2}}}


def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model.eval()(input_ids=torch.arange(24)[None] % 50).logits
    return found


def spec_of(node: Node, kind: type[T]) -> T:
    """The specification of a node."""
    assert isinstance(node.spec, kind)
    return node.spec


def long(folder: Path, **changes: Any) -> Path:
    """The toy stream: English in rows of 32 tokens, German in rows of 64 with another base."""
    write_strategy(folder, "long", [{"rewarm_cosine": {}}, {"rope_base": {"base": 5e5, "tasks": "later"}}])
    return write_toy(folder, **{"strategies": {"long": None}, "by_task": LONG, "tokens": 2048} | changes)


@pytest.mark.parametrize("name", ["llama-tiny", "neox-tiny"])
def test_the_frequencies_are_those_of_a_model_made_with_the_base(name: str) -> None:
    model = tiny(name)
    plain = logits(model)
    kept = RopeBase(base=10_000.0).prepare(model, 2)
    assert torch.equal(logits(kept), plain)
    model = RopeBase(base=100.0).prepare(model, 2)
    config = tiny(name).config
    config.rope_parameters["rope_theta"] = 100.0
    other = type(model)(config)
    other.load_state_dict(model.state_dict())
    assert torch.equal(logits(model), logits(other))
    assert not torch.allclose(logits(model), plain)


def test_base_and_length_change_at_the_boundary_and_are_stored(tmp_path: Path) -> None:
    graph, store = plan(long(tmp_path))
    run = graph.runs[0]
    for node in (run.stages[0].node, run.stages[1].node, run.rows[2]):
        execute(tmp_path, node, store)
    bases = []
    for stage in run.stages:
        config = pretrained.load(store.path(stage.node)).config
        bases.append(config.rope_parameters["rope_theta"])
    assert bases == [10_000.0, 5e5]
    assert [spec_of(stage.node, TrainSpec).train.sequence for stage in run.stages] == [32, 64]
    assert [store.result(stage.node)["tokens"] for stage in run.stages] == [2048, 2048]
    assert store.result(run.rows[2])["cells"].keys() == {"english", "german"}
    assert spec_of(run.rows[2], EvaluateSpec).packing.lengths == (("german", 64),)
    assert run.stages[0].node.parents[TOKENIZER] is run.stages[1].node.parents[TOKENIZER]
    assert run.stages[1].node.parents[data("german")] is graph.data["german"]


def test_other_experiments_keep_their_keys(tmp_path: Path) -> None:
    plain, _ = plan(write_toy(tmp_path / "a", tokens=2048))
    other, _ = plan(write_toy(tmp_path / "b", tokens=2048, by_task={"german": {"train": {"sequence": 32}}}))
    assert {node.key for node in plain.nodes} == {node.key for node in other.nodes}


def test_a_row_beyond_the_context_is_refused_while_planning(tmp_path: Path) -> None:
    folder = long(tmp_path, by_task={"german": {"train": {"sequence": 1024, "batch": 2}}}, tokens=4096)
    dropout_model(folder / "model")
    with pytest.raises(UserError, match=r"by_task\.german\.train\.sequence: 1024 is more than the 512 tokens"):
        plan(folder, "--model={name: model}")
    plan(folder, "--model={name: model}", "--strategy.rope_base.context=1024")


@pytest.mark.parametrize(
    ("settings", "error"),
    [({"base": 1.0}, "base: 1.0 must be greater than 1"), ({"context": 0}, "context: 0 must be positive")],
)
def test_settings_that_are_wrong(settings: dict[str, Any], error: str) -> None:
    with pytest.raises(UserError, match=error):
        RopeBase(**settings)


@pytest.mark.parametrize(
    ("methods", "error"),
    [
        (["lora"], "Lora stores what differs from the base model"),
        (["magmax"], "MagMax stores what differs from the base model"),
    ],
)
def test_strategies_of_differences_are_refused(tmp_path: Path, methods: list[Any], error: str) -> None:
    write_toy(tmp_path, strategies={"both": None})
    write_strategy(tmp_path, "both", [*methods, "rope_base"])
    with pytest.raises(UserError, match=error):
        plan(tmp_path)


def test_architectures_without_one_rotary_embedding_are_refused(tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    for kind in ("gpt2", "gemma3_text"):
        config = AutoConfig.for_model(kind, num_hidden_layers=1, hidden_size=16, num_attention_heads=2, vocab_size=50)
        with pytest.raises(UserError, match=f"{kind} has not one rotary embedding for all layers"):
            RopeBase().prepare(AutoModelForCausalLM.from_config(config), 1)
