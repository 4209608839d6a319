"""Stores for the tests of this package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from cl.execution.store import Store


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store in a local folder, and one behind fsspec that is no folder."""
    if request.param == "local":
        yield opened(Store(tmp_path / "store"))
        return
    yield opened(Store("memory://store", scratch=tmp_path / "scratch"))
    fsspec.filesystem("memory").rm("/store", recursive=True)


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return opened(Store(tmp_path / "store"))


def opened(store: Store) -> Store:
    store.open_for_writing()
    return store
