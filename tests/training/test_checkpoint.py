"""Checkpoints: complete, the newest one, and restored bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cl.training import checkpoint
from tests.support.methods import step_of
from tests.support.training import (
    Anchor,
    tiny,
)


def test_unfinished_checkpoints_are_ignored(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path / "none") is None
    for name in ("000000005", "000000010", "000000015.new"):
        (tmp_path / name).mkdir()
    found = checkpoint.newest(tmp_path)
    assert found is not None
    assert found.name == "000000010"


def test_a_checkpoint_holds_everything_and_replaces_the_older_one(tmp_path: Path) -> None:
    def parts() -> tuple[Any, torch.optim.Optimizer, Anchor]:
        model, method = tiny(), Anchor()
        method.prepare(model, 1)
        return model, torch.optim.AdamW(model.parameters(), lr=0.1), method

    model, optimizer, method = parts()
    (tmp_path / "000000003.new").mkdir()  # left by a process that was killed
    for step in (2, 3):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        method.after_backward(step_of(model))
        optimizer.step()
        checkpoint.save(tmp_path, step, model, optimizer, [method], {"seconds": 1.5})
    expected = torch.rand(3)
    assert [path.name for path in tmp_path.iterdir()] == ["000000003"]

    other, fresh, empty = parts()
    state = checkpoint.restore(tmp_path / "000000003", other, fresh, [empty])
    assert state == {"step": 3, "seconds": 1.5}
    assert torch.equal(torch.rand(3), expected)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        for name in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(fresh.state[two][name], optimizer.state[one][name])
    assert all(torch.equal(empty.importance[name], value) for name, value in method.importance.items())


def test_a_checkpoint_of_tied_weights_keeps_them_tied(tmp_path: Path) -> None:
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = torch.nn.Linear(3, 3)
            self.two = torch.nn.Linear(3, 3)
            self.two.weight = self.one.weight
            self.device = torch.device("cpu")

    model, other = Tied(), Tied()
    checkpoint.save(tmp_path, 1, model, torch.optim.AdamW(model.parameters()), [], {})
    checkpoint.restore(tmp_path / "000000001", other, torch.optim.AdamW(other.parameters()), [])
    assert other.two.weight is other.one.weight
    assert torch.equal(other.one.weight, model.one.weight)
    assert torch.equal(other.two.bias, model.two.bias)


def test_two_methods_of_one_class_keep_their_states_apart() -> None:
    methods = [Anchor(), Anchor()]
    for value, method in enumerate(methods):
        method.importance = {"x": torch.tensor([float(value)])}
    stored = checkpoint.method_tensors(methods)
    assert set(stored) == {"0/x", "1/x"}
    loaded = [Anchor(), Anchor()]
    checkpoint.load_methods(loaded, stored, torch.device("cpu"))
    assert [float(method.importance["x"]) for method in loaded] == [0.0, 1.0]
