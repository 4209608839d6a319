"""Optimizers: which parameters decay, at which rate, one step by hand, and resumption with the same bits."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cl.config.train import Optimization, Optimizer, Train
from cl.data.batches import Batch
from cl.errors import UserError
from cl.training import optimizer as optimizers
from cl.training.learner import Learner
from cl.training.optimizer import Composed, build_optimizer
from strategies.adapters.lora import Lora
from tests.support.training import learn, plan, tiny, write_toy

ALL: list[Any] = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name == "adamw_8bit" and importlib.util.find_spec("bitsandbytes") is None,
            reason="bitsandbytes is not installed",
        ),
    )
    for name in optimizers.BUILD
]


@pytest.mark.parametrize("name", ["llama-tiny", "neox-tiny"])
def test_weight_decay_on_matrices_only(name: str) -> None:
    model = tiny(name)
    before = {key: value.clone() for key, value in model.named_parameters()}
    optimizer = build_optimizer(model, Train(lr=0.1, weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for key, value in model.named_parameters():
        factor = 1 - 0.1 * 0.5 if value.ndim >= 2 else 1.0
        torch.testing.assert_close(value, before[key] * factor, msg=key)


def test_a_step_equals_the_equation_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    optimizer = build_optimizer(model, Train(lr=0.1, weight_decay=0.5, betas=(0.9, 0.95), eps=1e-8))
    model.weight.grad = torch.full_like(model.weight, 3.0)
    optimizer.step()
    # decoupled decay: 2 - 0.1 * 0.5 * 2 = 1.9; the first bias-corrected step is lr * sign(gradient)
    assert model.weight.item() == pytest.approx(1.9 - 0.1, abs=1e-6)


def test_a_parameter_can_have_its_own_learning_rate() -> None:
    model = nn.Linear(2, 2)
    model.bias.lr_factor = 10.0  # type: ignore[attr-defined]
    factors = {
        id(p): group["lr_factor"] for group in build_optimizer(model, Train()).param_groups for p in group["params"]
    }
    assert factors == {id(model.weight): 1.0, id(model.bias): 10.0}


@pytest.mark.parametrize("kind", ALL)
def test_embeddings_can_have_their_own_rate(kind: Optimizer) -> None:
    model = tiny()
    ends = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    for _ in range(2):  # building changes nothing
        optimizer = build_optimizer(model, Optimization(embedding_lr=0.1, optimizer=kind))
    factors = {id(p): group["lr_factor"] for group in optimizer.param_groups for p in group["params"]}
    assert {factors[end] for end in ends} == {0.1}
    assert {factor for key, factor in factors.items() if key not in ends} == {1.0}


def test_a_method_decides_on_the_decay_of_its_parameters() -> None:
    adapted = Lora(weight_decay=0.02).prepare(tiny(), 1)
    decays = {
        group["weight_decay"]
        for group in build_optimizer(adapted, Train(weight_decay=0.1)).param_groups
        if group["params"]
    }
    assert decays == {0.02}
    assert {p.weight_decay for p in Lora().prepare(tiny(), 1).parameters() if p.requires_grad} == {0.0}


def stepped(kind: Optimizer, steps: int, model: nn.Module, train: Optimization) -> torch.optim.Optimizer:
    """An optimizer after some steps whose gradients are the parameters themselves."""
    found = build_optimizer(model, train)
    for _ in range(steps):
        for parameter in model.parameters():
            parameter.grad = parameter.detach().clone()
        found.step()
    return found


@pytest.mark.parametrize("kind", ALL)
def test_state_survives_being_stored_bit_for_bit(kind: Optimizer) -> None:
    train = Optimization(lr=0.01, optimizer=kind)
    whole, broken = tiny(), tiny()
    stepped(kind, 5, whole, train)
    first = stepped(kind, 3, broken, train)
    stored = {name: value.clone() for name, value in optimizers.tensors(first).items()}
    second = build_optimizer(broken, train)
    optimizers.load(second, stored)
    for _ in range(2):
        for parameter in broken.parameters():
            parameter.grad = parameter.detach().clone()
        second.step()
    for one, other in zip(whole.parameters(), broken.parameters(), strict=True):
        assert torch.equal(one, other)


def test_sgd_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    train = Optimization(lr=0.1, weight_decay=0.5, betas=(0.9, 0.95), optimizer="sgd")
    optimizer = build_optimizer(model, train)
    for gradient in (3.0, 0.0):
        model.weight.grad = torch.full_like(model.weight, gradient)
        optimizer.step()
    # 2 - 0.1 (3 + 0.5 * 2) = 1.6; momentum 0.9 * 4 + 0.5 * 1.6 = 4.4
    assert model.weight.item() == pytest.approx(1.6 - 0.44, abs=1e-6)


def test_muon_moves_matrices_of_layers_by_orthogonal_updates_and_the_rest_as_adamw() -> None:
    model = tiny()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = stepped("muon", 1, model, Optimization(lr=0.01, weight_decay=0.0, optimizer="muon"))
    assert isinstance(optimizer, Composed)
    moved = {name: before[name] - value.detach() for name, value in model.named_parameters()}
    for name, update in moved.items():
        if update.ndim == 2 and "layers" in name:
            values = torch.linalg.svdvals(update)
            scale = 0.01 * 0.2 * max(update.shape) ** 0.5
            assert 0.7 * scale < values.median()
            assert values.max() < 1.3 * scale
        elif "embed" in name or "lm_head" in name:
            moving = before[name] != 0
            torch.testing.assert_close(
                update[moving].abs(), torch.full_like(update[moving], 0.01), rtol=0.02, atol=1e-6
            )


def test_muon_keeps_the_rates_of_groups_that_a_schedule_sets() -> None:
    model = tiny()
    optimizer = build_optimizer(model, Optimization(lr=0.01, weight_decay=0.0, optimizer="muon"))
    before = [value.detach().clone() for value in model.parameters()]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))


def test_moments_of_8_bits_follow_adamw() -> None:
    pytest.importorskip("bitsandbytes")
    found = {}
    kinds: tuple[Optimizer, ...] = ("adamw", "adamw_8bit")
    for kind in kinds:
        model = nn.Linear(64, 128, bias=False)
        nn.init.constant_(model.weight, 1.0)
        model.weight.data += torch.arange(model.weight.numel()).reshape(model.weight.shape) / model.weight.numel()
        optimizer = stepped(kind, 5, model, Optimization(lr=0.01, optimizer=kind))
        found[kind] = model.weight.detach()
    assert {value.dtype for value in optimizer.state[model.weight].values() if isinstance(value, torch.Tensor)} >= {
        torch.uint8
    }
    assert not torch.equal(found["adamw"], found["adamw_8bit"])
    torch.testing.assert_close(found["adamw"], found["adamw_8bit"], rtol=0.0, atol=0.005)


def test_schedule_free_stores_and_measures_the_average() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    optimizer = stepped("schedule_free", 3, model, Optimization(lr=0.1, weight_decay=0.0, optimizer="schedule_free"))
    at = model.weight.item()
    with optimizers.measured(optimizer):
        # with equal rates x is the mean of the iterates z; y = (1 - beta) z + beta x
        z = optimizer.state[model.weight]["z"].item()
        assert 0.1 * z + 0.9 * model.weight.item() == pytest.approx(at, abs=1e-6)
        assert model.weight.item() != pytest.approx(at, abs=1e-4)
    assert model.weight.item() == pytest.approx(at, abs=1e-6)


def test_a_package_that_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "schedulefree", None)
    asked: dict[Optimizer, str] = {"adamw_8bit": r"cl\[quant\]", "schedule_free": r"cl\[optimizers\]"}
    for kind, extra in asked.items():
        with pytest.raises(UserError, match=f"train\\.optimizer: {kind} needs .*; pip install '{extra}'"):
            build_optimizer(nn.Linear(1, 1), Optimization(optimizer=kind))


class StoppedError(Exception):
    """Not an error of ours."""


@pytest.mark.parametrize("kind", [*(each for each in ALL if each.values != ("adamw",)), "bf16"])
def test_a_stage_that_was_interrupted_ends_with_the_same_bits(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {"name": "llama-tiny", "vocabulary": 300, "weights": "bf16" if kind == "bf16" else "fp32"}
    train = {} if kind == "bf16" else {"optimizer": kind}
    folders = []
    for name in ("whole", "broken"):
        folder = write_toy(tmp_path / name, model=model, train=train, checkpoints={"steps": 5}, tokens=4 * 32 * 12)
        if name == "broken":
            inner, calls = Learner.training_step, iter(range(100))

            def training_step(self: Learner, batch: Batch, index: int, inner: Any = inner, calls: Any = calls) -> None:
                if next(calls) == 8:
                    raise StoppedError
                inner(self, batch, index)

            with monkeypatch.context() as patch:
                patch.setattr(Learner, "training_step", training_step)
                with pytest.raises(StoppedError):
                    learn(folder)
        folders.append([path / "model.safetensors" for path in learn(folder)])
    whole, broken = ([path.read_bytes() for path in found] for found in folders)
    assert whole == broken


def test_adamw_is_no_setting_of_its_own_in_a_key(tmp_path: Path) -> None:
    plain, _ = plan(write_toy(tmp_path))
    named, _ = plan(tmp_path, "--train.optimizer=adamw")
    other, _ = plan(tmp_path, "--train.optimizer=sgd")
    keys = [[stage.node.key for stage in graph.runs[0].stages] for graph in (plain, named, other)]
    assert keys[0] == keys[1]
    assert not set(keys[0]) & set(keys[2])
