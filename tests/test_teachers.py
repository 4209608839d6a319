"""Teachers: those that must agree do, caches are nodes that trials share, and adapter_off only where it is the one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig

from cl.data.batches import Batch, rows
from cl.errors import UserError
from cl.graph.stored import result_of
from cl.methods.method import Teaching
from cl.models import adapters, pretrained
from cl.models.distillation import Dense, Sampled
from cl.models.forward import TokenLoss
from cl.steps import train
from cl.training import stage_rows
from cl.training.teachers import Setting, check_adapter_off, opening
from tests.training_fixture import execute, plan, run, tiny, token_rows, write_strategy, write_toy

TAUGHT: dict[str, Any] = {"strategies": {"taught": None}}


def with_mode(folder: Path, *modes: str, methods: tuple[Any, ...] = (), count: int | None = None) -> Path:
    """The toy experiment with a strategy for each mode, named by it; count: of those that sample."""
    write_toy(folder, strategies=dict.fromkeys(modes))
    for mode in modes:
        sampled = {"count": count} if mode in ("cache_sampled", "cache_top_k") else {}
        taught = {"self_distillation": {"weight": 0.5, "mode": mode, **sampled}}
        write_strategy(folder, mode, ["rewarm_cosine", *methods, taught])
    return folder


def final(results: dict[str, Any], label: str) -> dict[str, float]:
    (found,) = (run for run in results["runs"] if run["strategy"] == label)
    last = max(found["matrix"], key=int)
    return {name: cell["nll"] / cell["tokens"] for name, cell in found["matrix"][last].items()}


@pytest.mark.slow
def test_a_copy_and_the_cache_of_hidden_states_teach_the_same(tmp_path: Path) -> None:
    modes = ("frozen_copy", "cache_hidden", "cache_sampled", "cache_top_k")
    found = run(with_mode(tmp_path, *modes, count=300))
    copied = final(found, "frozen_copy")
    assert final(found, "cache_hidden") == pytest.approx(copied, rel=2e-3)  # hidden states in fp16
    assert final(found, "cache_top_k") == pytest.approx(copied, rel=2e-3)  # all ids of the vocabulary
    assert final(found, "cache_sampled") == pytest.approx(copied, rel=0.05)


@pytest.mark.slow
def test_the_model_without_its_adapter_is_the_copy(tmp_path: Path) -> None:
    found = run(with_mode(tmp_path, "frozen_copy", "adapter_off", methods=("lora",)))
    assert final(found, "adapter_off") == pytest.approx(final(found, "frozen_copy"), rel=1e-5)


@pytest.mark.parametrize("mode", ["cache_hidden", "cache_sampled"])
def test_a_cache_is_in_no_key_of_weight_rate_or_schedule_but_in_that_of_its_model(mode: str, tmp_path: Path) -> None:
    folder = with_mode(tmp_path, mode)
    graph, _ = plan(folder)
    again, _ = plan(folder, "--train.lr=0.0007", "--strategy.self_distillation.weight=0.1")
    caches, later = ({n.key for n in g.nodes if n.kind == "teacher"} for g in (graph, again))
    assert caches == later
    assert len(caches) == 2  # a data set each: the base model teaches both stages
    previous, _ = plan(folder, "--strategy.self_distillation.teacher=previous")
    others = {n.key for n in previous.nodes if n.kind == "teacher"}
    assert len(others) == 2
    assert len(others & caches) == 1  # the first stage's previous model is the base model
    longer, _ = plan(folder, "--seeds=[1]")
    assert not {n.key for n in longer.nodes if n.kind == "teacher"} & caches  # other rows, another initial model


def test_a_stage_without_a_teacher_has_no_parent_for_it(tmp_path: Path) -> None:
    folder = with_mode(tmp_path, "frozen_copy", "adapter_off", methods=("lora",))
    graph, _ = plan(folder)
    roles = {run.strategy.label: set(run.stages[1].node.parents) for run in graph.runs}
    assert roles["frozen_copy"] - roles["adapter_off"] == {"teacher/2"}
    graph, _ = plan(folder, "--strategy.self_distillation.weight=0")
    assert not any(role.startswith("teacher") for run in graph.runs for s in run.stages for role in s.node.parents)


def test_what_is_kept_is_what_the_model_says(tmp_path: Path) -> None:
    folder = with_mode(tmp_path, "cache_hidden", "cache_sampled", count=7)
    graph, store = plan(folder)
    first = {run.strategy.label: run.stages[0] for run in graph.runs}
    for label, sort in (("cache_hidden", Dense), ("cache_sampled", Sampled)):
        node = first[label].node
        for parent in node.parents.values():
            execute(folder, parent, store)
        inputs = {role: store.path(parent) for role, parent in node.parents.items()}
        sources = {"english": rows(inputs["data/english"], "english", "train", 32)}
        staged = train._plan(node.spec, inputs, sources)
        model = pretrained.load(inputs["state"]).eval()
        loss = TokenLoss(model, 0, boundaries=True)
        loss.separator = result_of(inputs["tokenizer"])["separator_id"]
        batch = stage_rows.Batches(staged, sources, loss.separator)[3]
        mode: Any = label
        says = opening(Teaching("base", mode, 7), 1, inputs, loss, Setting(1, "cpu", "fp32", staged.readings))
        found = says(batch).says(slice(None), 1.0)
        assert isinstance(found, sort)
        with torch.no_grad():
            log_p = loss.outputs(batch).logits().log_softmax(-1)
        gold = batch.ids[:, 1:].reshape(-1)
        for mine, theirs in zip(found.choices(gold), Dense(log_p).choices(gold), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0.01 if sort is Dense else 1e-4)
        if isinstance(found, Sampled):
            assert found.ids.shape == (len(gold), 7)
            torch.testing.assert_close(found.entropy, -(log_p.exp() * log_p).sum(-1), rtol=0, atol=1e-4)


def adapted(uses: dict[str, str] | None = None, **config: Any) -> Any:
    model = adapters.add(tiny(), "t1", LoraConfig(target_modules=["q_proj"], init_lora_weights=False, **config))
    model.cl_adapters = uses or {"t1": "trained"}
    return model


def test_the_base_model_is_what_is_left_without_the_adapter() -> None:
    base = tiny()
    model = adapters.add(copy.deepcopy(base), "t1", LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    batch, loss = Batch(token_rows(2), None), TokenLoss(model, 0, boundaries=True)
    says = opening(Teaching("base", "adapter_off"), 0, {}, loss, Setting(1, "cpu", "fp32", []))
    with torch.no_grad():
        wanted = TokenLoss(base, 0, boundaries=True).outputs(batch).logits().log_softmax(-1)
        learner = loss.outputs(batch).logits().log_softmax(-1)
    found = says(batch).says(slice(None), 1.0)
    assert isinstance(found, Dense)
    torch.testing.assert_close(found.log_p, wanted)
    assert (learner - wanted).abs().max() > 0.01  # and it is back afterwards


@pytest.mark.parametrize(
    ("model", "of", "t", "why"),
    [
        (tiny, "base", 1, "no low-rank adapters"),
        (lambda: adapted(bias="lora_only"), "base", 1, "train biases"),
        (lambda: adapted({"t0": "merged", "t1": "trained"}), "base", 2, "merged into the weights"),
        (adapted, "previous", 2, "earlier tasks are in its adapters"),
    ],
)
def test_adapter_off_is_refused_where_it_is_another_model(model: Any, of: Any, t: int, why: str) -> None:
    with pytest.raises(UserError, match=why):
        check_adapter_off(model(), Teaching(of, "adapter_off"), t)


def test_adapter_off_is_refused_where_weights_are_trained_beside_it() -> None:
    model = adapted()
    model.get_output_embeddings().weight.requires_grad_(True)
    with pytest.raises(UserError, match="weights outside the adapters"):
        check_adapter_off(model, Teaching("base", "adapter_off"), 1)


def test_adapter_off_is_the_previous_model_where_that_was_merged() -> None:
    merged = adapters.merged(adapted())
    fresh = adapters.add(merged, "t2", LoraConfig(target_modules=["q_proj"]))
    check_adapter_off(fresh, Teaching("previous", "adapter_off"), 2)


def test_what_was_frozen_stays_frozen_when_adapters_come_back() -> None:
    model = adapters.add(adapted(), "t2", LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    assert not all(before.values())
    assert any(before.values())
    loss = TokenLoss(model, 0, boundaries=True)
    says = opening(Teaching("base", "adapter_off"), 0, {}, loss, Setting(2, "cpu", "fp32", []))
    says(Batch(token_rows(2), None))
    assert {name: p.requires_grad for name, p in model.named_parameters()} == before


def test_strategies_with_and_without_adapters_share_what_the_base_model_says(tmp_path: Path) -> None:
    write_toy(tmp_path, strategies={"plain": None, "adapted": None})
    taught = {"self_distillation": {"mode": "cache_hidden"}}
    write_strategy(tmp_path, "plain", ["rewarm_cosine", taught])
    write_strategy(tmp_path, "adapted", ["rewarm_cosine", "lora", taught])
    graph, _ = plan(tmp_path)
    assert len({node.key for node in graph.nodes if node.kind == "teacher"}) == 2  # one for each of two tasks


def test_trunk_and_fork_share_what_their_teacher_says(tmp_path: Path) -> None:
    write_toy(tmp_path, strategies={"forked": None})
    write_strategy(tmp_path, "forked", ["wsd", {"self_distillation": {"mode": "cache_hidden"}}])
    graph, _ = plan(tmp_path)
    assert len({node.key for node in graph.nodes if node.kind == "teacher"}) == 2


def test_a_set_without_a_whole_row_has_nothing_to_be_taught(tmp_path: Path) -> None:
    folder = with_mode(tmp_path, "cache_hidden")
    graph, store = plan(folder, "--train.sequence=20000", "--tokens=80000")
    (node,) = (n for n in graph.runs[0].stages[0].node.parents.values() if n.kind == "teacher")
    with pytest.raises(UserError, match="'english': has no training rows"):
        execute(folder, node, store)
