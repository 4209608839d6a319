"""Weights in fewer bits: levels and rounding by hand, what is kept packed, and what a stage of a stream stores."""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from cl.errors import UserError
from cl.models import adapters, pretrained, quantized
from cl.models.quantized import Form, FrozenLinear
from cl.steps import train as train_step
from strategies.adapters.lora import Lora
from tests.support.training import execute, learn, plan, tiny, token_rows, write_toy

FORMS: tuple[Form, ...] = get_args(Form)


def test_levels_of_4_bits_are_the_quantiles_of_the_paper() -> None:
    # Appendix E and its code: quantiles at equal distances, 8 above and 7 below zero, divided by the largest.
    end = 0.9677083
    above = [NormalDist().inv_cdf(end + (0.5 - end) * k / 8) for k in range(8)]
    below = [-NormalDist().inv_cdf(end + (0.5 - end) * k / 7) for k in range(7)]
    expected = sorted([*below, 0.0, *above])
    assert torch.allclose(quantized.levels("4bit"), torch.tensor(expected) / max(expected), atol=1e-6)


def test_rounding_by_hand() -> None:
    weight = torch.zeros(2, 64)
    weight[0, :3] = torch.tensor([-2.0, 0.1, 0.99])  # halves: -1, 0.05 (nearest 0.0796), 0.495 (nearest 0.4407)
    weight[1, 0] = 3.0
    four = quantized.unpack(quantized.pack(weight, "4bit"), "4bit", weight.shape)
    assert four[0, :4].tolist() == pytest.approx([-2.0, 2 * 0.0795803, 2 * 0.4407098, 0.0])
    assert four[1, 0] == 3.0
    eight = quantized.unpack(quantized.pack(weight, "8bit"), "8bit", weight.shape)
    assert eight[0, :4].tolist() == pytest.approx([-2.0, 2 * 6 / 127, 2 * 63 / 127, 0.0])  # 6.35 and 62.9 of 127


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(3, 5), (64, 64), (7, 129)])
def test_rounding_twice_is_rounding_once(form: Form, shape: tuple[int, int]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    once = quantized.unpack(quantized.pack(weight, form), form, weight.shape)
    twice = quantized.unpack(quantized.pack(once, form), form, weight.shape)
    assert torch.equal(once, twice)
    assert not torch.equal(once, weight)
    distance = {"bf16": 0.01, "8bit": 0.01, "4bit": 0.2}[form]
    assert (once - weight).norm() < distance * weight.norm()


@pytest.mark.parametrize(("form", "bits"), [("bf16", 16), ("8bit", 8.5), ("4bit", 4.5)])
def test_bits_of_a_weight(form: Form, bits: float) -> None:
    packed = quantized.pack(torch.randn(128, 64), form)
    assert sum(8 * value.nbytes for value in packed) == bits * 128 * 64


def losses_and_gradients(model: Any, ids: torch.Tensor) -> list[torch.Tensor]:
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    return [loss, *(parameter.grad for parameter in model.parameters() if parameter.grad is not None)]


@pytest.mark.parametrize("form", FORMS)
def test_adapters_learn_the_same_bits_whether_the_base_is_packed(form: Form) -> None:
    found = []
    for packed in (False, True):
        torch.manual_seed(0)
        model = tiny()
        quantized.round_(model, form)
        model = Lora().prepare(model, 1)
        before = sum(parameter.numel() for parameter in model.parameters())
        if packed:
            assert quantized.hold(model, form) == 0
            assert sum(isinstance(each, FrozenLinear) for each in model.modules()) == 14
        assert quantized.parameters(model) == before
        found.append(losses_and_gradients(model, token_rows(3)))
    assert len(found[0]) == len(found[1]) > 10
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_under_autocast_products_are_bf16() -> None:
    linear = nn.Linear(64, 8).requires_grad_(False)
    linear.weight.copy_(quantized.unpack(quantized.pack(linear.weight, "4bit"), "4bit", linear.weight.shape))
    held = FrozenLinear(linear, quantized.pack(linear.weight, "4bit"), "4bit")
    values = torch.randn(2, 64, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert held(values).dtype == torch.bfloat16
        assert torch.equal(held(values), linear(values))
        held(values).sum().backward()
    assert values.grad is not None
    assert values.grad.dtype == torch.float32


def test_the_graph_keeps_weights_packed() -> None:
    linear = nn.Linear(256, 256, bias=False).requires_grad_(False)
    held = FrozenLinear(linear, quantized.pack(linear.weight, "4bit"), "4bit")
    kept: list[int] = []

    def keep(value: torch.Tensor) -> torch.Tensor:
        kept.append(value.nbytes)
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        held(torch.randn(1, 256, requires_grad=True))
    assert sum(kept) == 256 * 256 * 4.5 / 8


def test_what_a_merge_has_changed_is_not_rounded_again() -> None:
    model = tiny()
    quantized.round_(model, "4bit")
    model = adapters.add(model, "t1", Lora().config(model))
    for name, value in model.named_parameters():
        if "lora_B" in name and "q_proj" in name:
            nn.init.normal_(value)
    merged = Lora(life="merge").prepare(model, 2)
    expected = {name: value.clone() for name, value in merged.named_parameters() if "base_layer" in name}
    assert quantized.hold(merged, "4bit") == 2  # q_proj of two layers
    for name, value in expected.items():
        assert torch.equal(merged.get_submodule(name.removesuffix(".weight")).weight, value)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("strategy", ["lora_sequential", "lora_merged", "reglora"])
def test_a_stream_of_adapters_on_a_rounded_base(tmp_path: Path, form: Form, strategy: str) -> None:
    model = {"name": "llama-tiny", "vocabulary": 300, "weights": form}
    folder = write_toy(tmp_path, model=model, tokens=512, strategies={strategy: None})
    graph, store = plan(folder)
    execute(folder, graph.runs[0].rows[max(graph.runs[0].rows)], store)
    base = pretrained.load(store.path(graph.base))
    weight = base.model.layers[0].mlp.up_proj.weight
    assert torch.equal(quantized.unpack(quantized.pack(weight, form), form, weight.shape), weight)
    embedding = base.get_input_embeddings().weight
    assert not torch.equal(quantized.unpack(quantized.pack(embedding, form), form, embedding.shape), embedding)
    states = [store.path(stage.node) for stage in graph.runs[0].stages]
    told = [store.result(stage.node)["warnings"] for stage in graph.runs[0].stages]
    kept = [text for each in told for text in each if text.startswith("model.weights")]
    assert len(kept) == (0 if strategy == "lora_sequential" else 1)
    # What is evaluated is what is stored: base and adapters, loaded anew, are the model that was trained.
    parameters = sum(value.numel() for value in adapters.load(states[-1], store.path(graph.base)).parameters())
    assert store.result(graph.runs[0].stages[-1].node)["parameters"] == parameters


def test_training_itself_holds_the_base_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    inner = train_step._fit

    def fit(job: Any, state: Any) -> Any:
        seen.append(sum(isinstance(each, FrozenLinear) for each in job.learner.model.modules()))
        return inner(job, state)

    monkeypatch.setattr(train_step, "_fit", fit)
    model = {"name": "llama-tiny", "vocabulary": 300, "weights": "4bit"}
    learn(write_toy(tmp_path, model=model, tokens=256, strategies={"lora_sequential": None}))
    assert seen == [14, 14]


def test_full_training_keeps_linear_weights_in_bf16(tmp_path: Path) -> None:
    model = {"name": "llama-tiny", "vocabulary": 300, "weights": "bf16"}
    states = learn(write_toy(tmp_path, model=model, tokens=1024))
    first, last = (load_file(path / "model.safetensors") for path in states)
    changed = {name for name in first if not torch.equal(first[name], last[name])}
    assert changed == set(first)
    narrow = {name for name, value in last.items() if value.dtype == torch.bfloat16}
    assert narrow == {name for name in last if "_proj" in name}
    assert pretrained.load(states[-1]).dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (
            {"model": "4bit"},
            r"strategies\.finetune: model\.weights: 4bit: this stage trains the weights themselves; use a strategy",
        ),
        ({"model": "bf16", "train": {"optimizer": "sgd"}}, r"bf16: train\.optimizer: sgd loses small updates"),
        ({"model": "bf16", "strategies": {"ewc": None}}, "bf16: EWC needs fp32 where it reads trained weights"),
        ({"model": "bf16", "train": {"devices": 2}}, "bf16: trained weights are rounded at random in each process"),
        (
            {"model": "8bit", "train": {"devices": 2, "distributed": "fsdp"}, "strategies": {"lora_merged": None}},
            r"model\.weights: 8bit does not work with train\.distributed: fsdp; use fp32",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_while_planning(tmp_path: Path, changes: Any, error: str) -> None:
    model = {"name": "llama-tiny", "vocabulary": 300, "weights": changes.pop("model")}
    folder = write_toy(tmp_path, model=model, **changes)
    with pytest.raises(UserError, match=error):
        plan(folder)


def test_fp32_is_in_no_key(tmp_path: Path) -> None:
    plain, _ = plan(write_toy(tmp_path))
    named, _ = plan(tmp_path, "--model.weights=fp32")
    other, _ = plan(tmp_path, "--model.weights=bf16")
    keys = [[stage.node.key for stage in graph.runs[0].stages] for graph in (plain, named, other)]
    assert keys[0] == keys[1]
    assert not set(keys[0]) & set(keys[2])
