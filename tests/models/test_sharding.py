"""Tensors whose rows are spread over processes: which rows are whose, and that no process reads the others'."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard

from cl.models import pretrained, sharding
from tests.support.fake_processes import one_of_two
from tests.support.training import tiny


@pytest.mark.parametrize(("rank", "count", "expected"), [
    (0, 4, [0, 1]), (1, 4, [2, 3]),
    (0, 3, [0, 1]), (1, 3, [2]),
    (0, 1, [0]), (1, 1, []),
])  # fmt: skip
def test_each_process_holds_the_rows_that_fsdp_gives_it(rank: int, count: int, expected: list[int]) -> None:
    full = torch.arange(count * 2.0).reshape(count, 2)
    with one_of_two(rank) as mesh:
        layer = torch.nn.Linear(2, count, bias=False)
        layer.weight.data.copy_(full)
        fully_shard(layer, mesh=mesh)
        weight = layer.weight
        assert sharding.is_sharded(weight)
        found = sharding.like(full, weight)
        assert isinstance(found, DTensor)
        assert (found.placements, found.shape, found.stride()) == ((Shard(0),), weight.shape, weight.stride())
        assert torch.equal(sharding.local(found), sharding.local(weight.detach()))
        assert torch.equal(sharding.local(found), full[expected])
        assert torch.equal(sharding.local(found * weight.detach()), full[expected] ** 2)


def test_what_is_not_sharded_stays_as_it_is() -> None:
    value = torch.arange(3.0)
    assert not sharding.is_sharded(value)
    assert sharding.whole(value) is sharding.local(value) is sharding.like(value, torch.zeros(3)) is value


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_reads_its_own_rows_of_a_stored_model_alone(tmp_path: Path) -> None:
    """A stored model is mapped into memory; sharding it reads the rows that the process keeps."""
    pretrained.save(tiny(vocabulary=100_000), tmp_path)
    file = tmp_path / "model.safetensors"
    model = pretrained.load(tmp_path)
    open_file = dict(model.state_dict())  # sharding lets go of it
    with one_of_two(1) as mesh:
        fully_shard(model, mesh=mesh)
        held = sum(sharding.local(value).numel() for value in model.parameters()) * 4
    assert held == pytest.approx(file.stat().st_size / 2, rel=0.05)
    assert 0.3 < mapped(file) / file.stat().st_size < 0.65
    sum(value.sum() for value in open_file.values())
    assert mapped(file) / file.stat().st_size > 0.9


def mapped(file: Path) -> int:
    """Bytes of a mapped file that this process has read."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    starts = [place for place, line in enumerate(lines) if line.endswith(str(file))]
    sizes = [next(line for line in lines[place:] if line.startswith("Rss:")) for place in starts]
    return sum(int(size.split()[1]) * 1024 for size in sizes)
