"""The writer of checkpoints: training waits for a copy, time bounds how often, errors of the thread are raised."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cl.config.checkpoints import Checkpoints
from cl.errors import UserError
from cl.training import checkpoint
from cl.training.checkpoint_writer import Writer


def layer() -> Any:
    """A small layer and its optimizer, with moments."""
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return model, optimizer


class Slow:
    """`checkpoint.write` that waits until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate, self.write, self.steps = threading.Event(), checkpoint.write, list[int]()
        monkeypatch.setattr(checkpoint, "write", self)

    def __call__(self, folder: Path, step: int, *others: Any) -> None:
        assert self.gate.wait(10)
        self.write(folder, step, *others)
        self.steps.append(step)


def test_training_goes_on_while_a_copy_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, (model, optimizer) = Slow(monkeypatch), layer()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    moment = optimizer.state[model.weight]["exp_avg"].clone()
    with Writer(tmp_path, Checkpoints(seconds=1e-9)) as writer:
        writer.save(3, model, optimizer, [], {})
        optimizer.step()  # changes what was copied
        assert writer.busy
        assert not writer.due(4)  # the next one waits, or buffers would change under the thread
        slow.gate.set()
    found = load_file(tmp_path / "000000003" / "model.safetensors")
    assert all(torch.equal(found[name], value) for name, value in before.items())
    assert torch.equal(load_file(tmp_path / "000000003" / "optimizer.safetensors")["0/exp_avg"], moment)


def test_the_next_one_is_written_after_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, (model, optimizer) = Slow(monkeypatch), layer()
    with Writer(tmp_path, Checkpoints(steps=1)) as writer:
        writer.save(1, model, optimizer, [], {})
        assert writer.due(2)  # asked for by `steps`, whatever it costs
        threading.Timer(0.1, slow.gate.set).start()
        writer.save(2, model, optimizer, [], {})
        assert slow.steps[0] == 1
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["000000001", "000000002"]


def test_without_the_background_it_is_written_at_once_and_nothing_is_copied(tmp_path: Path) -> None:
    model, optimizer = layer()
    with Writer(tmp_path, Checkpoints(background=False)) as writer:
        writer.save(1, model, optimizer, [], {})
        assert not writer.busy
        assert checkpoint.newest(tmp_path)[0] == tmp_path / "000000001"
        assert writer._buffers == {}


def full(*_: Any) -> None:
    raise OSError("No space left on device")


def test_an_error_of_the_thread_is_raised_after_the_next_step_or_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "write", full)
    model, optimizer = layer()
    writer = Writer(tmp_path, Checkpoints())
    writer.save(1, model, optimizer, [], {})
    while writer.busy:
        pass
    with pytest.raises(OSError, match="No space"):
        writer.check()
    with pytest.raises(OSError, match="No space"), writer:
        writer.save(2, model, optimizer, [], {})


def test_it_is_no_mask_of_another_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "write", full)
    model, optimizer = layer()

    def train() -> None:
        with Writer(tmp_path, Checkpoints()) as writer:
            writer.save(1, model, optimizer, [], {})
            raise ValueError("of the training")

    with pytest.raises(ValueError, match="of the training") as caught:
        train()
    assert caught.value.__notes__ == ["The last checkpoint could not be written either: No space left on device"]


def test_seconds_and_the_share_of_time_bound_how_often(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After a checkpoint that cost 3 s, 2 % of the time are used up for 150 s; after one of 1 s, 60 s count."""
    now = [1000.0]
    monkeypatch.setattr("cl.training.checkpoint_writer.time.monotonic", lambda: now[0])
    writer = Writer(tmp_path, Checkpoints(seconds=60, share=0.02))
    for lost, wait in ((0.0, 60), (3.0, 150), (1.0, 60)):
        writer.begin()
        writer.lost = lost
        now[0] += wait - 0.5
        assert not writer.due(1)
        now[0] += 0.5
        assert writer.due(1)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
def test_a_share_is_above_0_and_at_most_1(share: float) -> None:
    with pytest.raises(UserError, match=r"checkpoints\.share: .* must be above 0 and at most 1"):
        Checkpoints(share=share)
