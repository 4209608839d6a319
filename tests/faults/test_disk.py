"""Calls that change files, one after the other: each may fail, or be the last before the process is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl.execution.store import Store
from cl.execution.verification import verify
from tests.support.training import eventful, matrix, start, weights

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked")]
DRIVER = "tests.support.fault_driver"
STEPS = 12  # of 4 rows each
POINTS = 5
"""Calls at which a fault strikes, spread over the run; `make soak` takes all."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The experiment without a fault, and the number of its calls."""
    folder = eventful(tmp_path_factory.mktemp("whole"), Path("llama-tiny"), STEPS)
    count = folder.parent / "count"
    ended = start(folder, "--tracking.uri=none", module=DRIVER, COUNT=str(count))
    assert ended.returncode == 0, ended.stderr[-2000:]
    return folder, int(count.read_text())


@pytest.mark.parametrize("fault", ["ENOSPC", "EIO", "SIGTERM", "SIGKILL", "POWER"])
def test_a_fault_at_any_call_loses_nothing(tmp_path: Path, whole: tuple[Path, int], fault: str) -> None:
    expected, calls = whole
    folder = eventful(tmp_path, Path("llama-tiny"), STEPS)
    for point in range(POINTS):
        ended = start(
            folder,
            "--tracking.uri=none",
            module=DRIVER,
            FAULT=f"{fault} {1 + (calls // 2) * (point + 1) // (POINTS + 1)}",
        )
        check(fault, ended.returncode, ended.stderr)
        assert damaged(folder) == []
    ended = start(folder, "--tracking.uri=none")
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert matrix(folder, "anchored") == matrix(expected, "anchored")
    assert weights(folder, "anchored") == weights(expected, "anchored")
    assert damaged(folder) == []


def damaged(folder: Path) -> list[str]:
    """Published nodes that are not whole."""
    store = Store(folder / "store")
    return [key for key in store.folders() if verify(store, key)]


def check(fault: str, code: int, errors: str) -> None:
    """A full disk is one line and exit code 2; a run in which the call did not occur ends well."""
    if fault in ("SIGKILL", "POWER"):
        assert code in (-9, 0), errors[-2000:]
        return
    if fault == "SIGTERM":
        assert code in (143, 0), errors[-2000:]
        assert "Traceback" not in errors, errors[-3000:]
        return
    assert code in (2, 0), errors[-3000:]
    if code:
        told = [line for line in errors.splitlines() if line.startswith("cl: error: ")]
        assert len(told) == 1, errors[-3000:]
        assert "Traceback" not in errors, errors[-3000:]
