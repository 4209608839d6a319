"""A worker: where it finds the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl.execution.launchers import worker
from cl.execution.store import Store


def test_a_store_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert worker.address(Store("store")) == str(tmp_path.resolve() / "store")
    assert worker.address(Store("memory://bucket/store")) == "memory://bucket/store"
