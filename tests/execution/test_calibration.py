"""The rate of this machine: measured once for each way to compute, then read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cl.execution import calibration
from cl.graph.specs import Compute


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and measurements that take no time."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(calibration, "SECONDS", 0.0)
    return tmp_path / "cl" / "calibration"


class Measured:
    """Stands for the measurement: writes down what is asked, and answers 1, 2, …"""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def __call__(self, device: str, kind: str) -> float:
        self.asked.append((device, kind))
        return float(len(self.asked))


@pytest.fixture
def measured(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Measured:
    found = Measured()
    monkeypatch.setattr(calibration, "_measured", found)
    return found


def test_a_rate_is_measured_once_and_then_read(cache: Path, measured: Measured) -> None:
    assert [calibration.rate(Compute("cpu", "fp32")) for _ in range(2)] == [1.0, 1.0]
    assert calibration.rate(Compute("cpu", "bf16")) == 2.0
    assert measured.asked == [("cpu", "fp32"), ("cpu", "bf16")]
    assert sorted(json.loads(file.read_text())["flops"] for file in cache.iterdir()) == [1.0, 2.0]


def test_another_number_of_threads_is_measured_anew(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for threads in ("1", "3", "1"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        found.append(calibration.rate(Compute("cpu", "fp32")))
    assert found == [1.0, 2.0, 1.0]


def test_the_processor_stands_for_a_gpu_that_is_not_here(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cl.models.precision.has_cuda", lambda: False)
    calibration.rate(Compute("cuda", "fp32", compile=True))
    calibration.rate(Compute("cpu", "fp32"))
    assert measured.asked == [("cpu", "fp32")]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_product_of_matrices_is_really_timed(cache: Path, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "SECONDS", 0.02)
    assert 1e6 < calibration.rate(Compute("cpu", precision)) < 1e15


@pytest.mark.parametrize(
    ("rates", "compute", "told"),
    [
        ({"fp32": 90.0, "bf16": 1.0}, Compute("cpu", "bf16"), 90.0),
        ({"fp32": 9.0, "bf16": 9.0}, Compute("cpu", "bf16"), None),
        ({"fp32": 90.0, "bf16": 1.0}, Compute("cpu", "fp32"), None),
        ({"fp32": 90.0, "bf16": 1.0}, Compute("cuda", "bf16"), None),
    ],
)
def test_a_precision_that_is_emulated_is_told(
    cache: Path, monkeypatch: pytest.MonkeyPatch, rates: dict[str, float], compute: Compute, told: float | None
) -> None:
    monkeypatch.setattr(calibration, "_measured", lambda device, kind: rates[kind])
    assert calibration.emulated(compute) == told


def test_encoding_is_measured_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "TEXTS", 20)
    found = calibration.encoding()
    assert 1e4 < found < 1e9
    monkeypatch.setattr(calibration, "_encoded", lambda: pytest.fail("measured again"))
    assert calibration.encoding() == found
