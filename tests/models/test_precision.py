"""Device, precision and compilation: what `auto` means."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl.config.train import Train
from cl.errors import UserError
from cl.models import precision


@pytest.mark.parametrize(
    ("train", "parameters", "expected"),
    [
        (Train(device="cpu", precision="fp32", compile=False), 1e9, ("cpu", "fp32", False)),
        (Train(device="cpu", precision="bf16", compile="auto"), 1e4, ("cpu", "bf16", False)),
        (Train(device="cpu", precision="auto", compile="auto"), 1e9, ("cpu", "fp32", True)),
    ],
)
def test_resolve(train: Train, parameters: float, expected: tuple[Any, ...], monkeypatch: Any) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert tuple(precision.resolve(train, parameters).values()) == expected


def test_auto_precision_is_bf16_where_the_processor_has_matrix_units(monkeypatch: Any) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert precision.resolve(Train(device="cpu", compile=False), 0.0)["precision"] == "bf16"


def test_without_a_compiler_auto_is_eager_and_true_an_error(monkeypatch: Any) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert precision.resolve(Train(device="cpu", precision="fp32"), 1e20)["compile"] is False
    with pytest.raises(UserError, match=r"train\.compile: true needs a C\+\+ compiler"):
        precision.resolve(Train(device="cpu", compile=True), 1e20)


def test_cuda_where_there_is_none_is_an_error(monkeypatch: Any) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"train\.precision: auto cannot be settled: there is no cuda here"):
        precision.resolve(Train(device="cuda"), 0.0)
    assert precision.resolve(Train(device="cuda", precision="bf16"), 0.0)["device"] == "cuda"  # computed elsewhere
