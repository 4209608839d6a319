"""Tensors of a checkpoint that several processes have written: whole again, or the rows of one process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.distributed.fsdp import fully_shard

from cl.models import sharding
from cl.training.shards import Shards
from tests.support.fake_processes import one_of_two


def test_rows_that_processes_have_written_are_one_tensor(tmp_path: Path) -> None:
    """Of two processes the first has written what is not sharded; three rows are cut as two and one."""
    whole = torch.arange(6.0).reshape(3, 2)
    save_file({"step": torch.tensor(7.0)}, tmp_path / "optimizer.safetensors")
    save_file({"x": whole[:2], "empty": torch.ones(1, 2)}, tmp_path / "optimizer.00000.safetensors")
    save_file({"x": whole[2:].clone(), "empty": torch.ones(0, 2)}, tmp_path / "optimizer.00001.safetensors")
    found = Shards(tmp_path, "optimizer")
    assert sorted(found) == ["empty", "step", "x"]
    assert torch.equal(found.like("x"), whole)
    assert found.like("empty").shape == (1, 2)
    assert found.like("step") == 7


@pytest.mark.parametrize("pieces", [[5], [2, 3], [3, 1, 1], [5, 0]])
def test_a_process_finds_its_rows_whatever_process_has_written_them(tmp_path: Path, pieces: list[int]) -> None:
    full = torch.arange(10.0).reshape(5, 2)
    for place, rows in enumerate(full.split(pieces)):
        save_file({"x": rows.clone()}, tmp_path / f"model.{place:05d}.safetensors")
    for rank, own in ((0, full[:3]), (1, full[3:])):
        with one_of_two(rank) as mesh:
            layer = torch.nn.Linear(2, 5, bias=False)
            fully_shard(layer, mesh=mesh)
            assert torch.equal(sharding.local(Shards(tmp_path, "model").like("x", layer.weight)), own)
