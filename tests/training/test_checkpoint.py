"""Checkpoints: the newest whole one, and restored bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cl import durable
from cl.training import checkpoint, distributed
from tests.support.damage import damage
from tests.support.methods import step_of
from tests.support.training import Anchor, tiny


def test_unfinished_checkpoints_are_ignored(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path / "none") == (None, [])
    saved(tmp_path, 5, 10)
    (tmp_path / "000000015.new").mkdir()
    assert checkpoint.newest(tmp_path) == (tmp_path / "000000010", [])


def saved(folder: Path, *steps: int) -> None:
    """Checkpoints of a small layer."""
    layer = torch.nn.Linear(2, 2)
    for step in steps:
        checkpoint.save(folder, step, layer, torch.optim.AdamW(layer.parameters()), [], {})


FILES = ["model.safetensors", "optimizer.safetensors", "methods.safetensors", "random.safetensors", "state.json"]


@pytest.mark.parametrize("name", [*FILES, durable.CHECKSUMS])
@pytest.mark.parametrize("how", ["deleted", "emptied", "cut off", "flipped"])
def test_a_damaged_checkpoint_is_told_and_the_one_before_is_taken(tmp_path: Path, name: str, how: str) -> None:
    saved(tmp_path, 5, 10)
    damage(tmp_path / "000000010" / name, how)
    found, told = checkpoint.newest(tmp_path)
    assert found == tmp_path / "000000005"
    assert len(told) == 1
    assert told[0].startswith("the checkpoint at step 10 is damaged (")
    damage(tmp_path / "000000005" / name, how)
    assert checkpoint.newest(tmp_path)[0] is None
    saved(tmp_path, 5)  # made again in place of the damaged one
    assert checkpoint.newest(tmp_path)[0] == tmp_path / "000000005"


def test_the_two_newest_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3, 10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000003", "000000010"]


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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000002", "000000003"]

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


def test_a_checkpoint_that_another_process_could_not_write_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "announced", lambda key, value, ended: [value, '{"error": "No space left"}'])
    with pytest.raises(OSError, match="a process could not write the checkpoint of step 5: No space left"):
        saved(tmp_path, 5)
    assert checkpoint.newest(tmp_path) == (None, [])
