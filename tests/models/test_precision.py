"""Device, precision, compilation and attention: what `auto` means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cl.config.model import Model
from cl.config.train import Train
from cl.errors import UserError
from cl.models import precision
from cl.models.pretrained import Outline


@pytest.mark.parametrize(
    ("train", "parameters", "expected"),
    [
        (Train(device="cpu", precision="fp32", compile=False), 1e9, ("cpu", "fp32", False)),
        (Train(device="cpu", precision="bf16", compile="auto"), 1e4, ("cpu", "bf16", False)),
        (Train(device="cpu", precision="auto", compile="auto"), 1e9, ("cpu", "fp32", True)),
    ],
)
def test_resolve(train: Train, parameters: float, expected: tuple[Any, ...], monkeypatch: Any) -> None:
    monkeypatch.setattr(precision, "_has_bf16", lambda device: False)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert precision.resolve(train, parameters) == expected


@pytest.mark.parametrize(("flags", "has"), [("fpu amx_tile amx_bf16", True), ("fpu avx512_bf16", False)])
def test_matrix_units_are_a_flag_of_the_processor(flags: str, has: bool, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags     : {flags}\n")
    monkeypatch.setattr(precision, "Path", lambda name: tmp_path / Path(name).name)
    assert precision._has_bf16.__wrapped__("cpu") == has


def test_where_no_file_says_what_the_processor_has_torch_does(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(precision, "Path", lambda name: tmp_path / "absent")
    for has in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda has=has: has)
        assert precision._has_bf16.__wrapped__("cpu") == has


def test_auto_precision_is_bf16_where_the_processor_has_matrix_units(monkeypatch: Any) -> None:
    monkeypatch.setattr(precision, "_has_bf16", lambda device: device == "cpu")
    assert precision.resolve(Train(device="cpu", compile=False), 0.0) == ("cpu", "bf16", False)


def test_without_a_compiler_auto_is_eager_and_true_an_error(monkeypatch: Any) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert precision.resolve(Train(device="cpu", precision="fp32"), 1e20) == ("cpu", "fp32", False)
    with pytest.raises(UserError, match=r"train\.compile: true needs a C\+\+ compiler"):
        precision.resolve(Train(device="cpu", compile=True), 1e20)


def test_cuda_where_there_is_none_is_an_error(monkeypatch: Any) -> None:
    monkeypatch.setattr(precision, "has_cuda", lambda: False)
    with pytest.raises(UserError, match=r"train\.precision: auto needs a cuda device on this machine"):
        precision.resolve(Train(device="cuda"), 0.0)
    assert precision.resolve(Train(device="cuda", precision="bf16"), 0.0)[0] == "cuda"  # computed elsewhere


def attention(train: Train, device: str = "cpu", number: str = "fp32") -> str | None:
    return precision.attention(train, device, number, Outline(Model("llama-tiny")))


@pytest.mark.parametrize(
    ("train", "device", "number", "expected"),
    [
        (Train(), "cpu", "fp32", None),
        (Train(sequence=2047), "cpu", "fp32", None),
        (Train(sequence=2048), "cpu", "fp32", "varlen"),
        (Train(packing=True), "cpu", "fp32", "varlen"),
        (Train(sequence=2048, boundaries=False), "cpu", "fp32", None),
        (Train(attention="varlen"), "cpu", "fp32", "varlen"),
        (Train(sequence=4096, attention="sdpa"), "cpu", "fp32", None),
        (Train(sequence=4096), "cuda", "fp32", None),
        (Train(sequence=4096), "cuda", "bf16", None),  # flash-attn is not installed here
        (Train(attention="flex"), "cuda", "bf16", "flex"),
    ],
)
def test_attention_is_the_cheapest_kernel(train: Train, device: str, number: str, expected: str | None) -> None:
    assert attention(train, device, number) == expected


@pytest.mark.parametrize(
    ("train", "device", "number", "words"),
    [
        (Train(attention="flash"), "cpu", "bf16", "FlashAttention needs a GPU .*; use varlen or sdpa"),
        (Train(attention="flash"), "cuda", "fp32", "does not compute in fp32; take precision: bf16"),
        (Train(attention="flash"), "cuda", "bf16", "flash-attn is not installed; install it, or use flex"),
        (Train(attention="flex"), "cpu", "fp32", "no backward pass on a CPU; use varlen or sdpa"),
        (Train(attention="varlen"), "cuda", "bf16", "varlen goes through documents one by one.*; use flash or flex"),
        (Train(attention="varlen", boundaries=False), "cpu", "fp32", "varlen has no effect with train.boundaries"),
    ],
)
def test_a_kernel_that_cannot_work_is_refused(train: Train, device: str, number: str, words: str) -> None:
    with pytest.raises(UserError, match=rf"train\.attention: .*{words}"):
        attention(train, device, number)


def test_auto_does_not_choose_a_kernel_that_the_family_does_not_have(tmp_path: Path) -> None:
    from tests.support import families

    families.config("bloom").save_pretrained(tmp_path)
    outline = Outline(Model(str(tmp_path)))
    assert precision.attention(Train(sequence=4096), "cpu", "fp32", outline) is None
    with pytest.raises(UserError, match=r"varlen: bloom reads each document as a row of its own; use auto"):
        precision.attention(Train(attention="varlen"), "cpu", "fp32", outline)


def test_a_model_of_the_hub_is_not_read() -> None:
    outline = Outline(Model("owner/name", revision="main"))
    assert precision.attention(Train(sequence=4096), "cpu", "fp32", outline) is None
    assert precision.attention(Train(attention="varlen"), "cpu", "fp32", outline) == "varlen"
