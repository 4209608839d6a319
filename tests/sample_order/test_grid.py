"""The grid on disk."""

from __future__ import annotations

from pathlib import Path

from cl.sample_order import grid as grids


def test_a_grid_on_disk_is_taken_up_and_says_its_size(tmp_path: Path) -> None:
    made = grids.create(tmp_path / "c.npy", 3, 2, 5)
    made[1, 1] = 7.0
    made.flush()  # type: ignore[attr-defined]
    assert grids.create(tmp_path / "c.npy", 3, 2, 5)[1, 1, 0] == 7.0
    assert grids.create(tmp_path / "c.npy", 3, 2, 6).shape == (3, 3, 6)  # another shape: begun anew
    assert grids.nbytes(3, 2, 5) == made.nbytes
