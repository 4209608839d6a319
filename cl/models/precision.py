"""Resolve device, precision, compilation and attention: the meaning of `auto` on this machine."""

from __future__ import annotations

import ctypes
import shutil
import sys
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cl.config.train import Train
from cl.errors import UserError

if TYPE_CHECKING:
    from cl.models.attention import Kernel
    from cl.models.pretrained import Outline

# Compiling took 35 s once per process and then made a step of llama-2m 1.4 times as fast (2 cores, 205 k tokens);
# models smaller than this are test models, trained for seconds.
WORTH_COMPILING = 1_000_000  # parameters
LONG = 2048  # tokens per row


def resolve(train: Train, parameters: float, packed: bool = True) -> tuple[str, str, bool]:
    """Replace `auto` by values for this machine.

    * precision: bf16 on a GPU that supports it and on a CPU with bf16 matrix units (AMX), else fp32. AVX512-BF16 alone
      makes small models slower than fp32 (benchmarks/throughput.py).
    * compile: true on a GPU (Triton) or with a C++ compiler, if the model has at least WORTH_COMPILING parameters and
      all rows are text. Rows of instruction tasks differ in length or, packed, in number: each shape would be compiled.

    Node keys hold the resolved values, so a result always states its device and precision. No value depends on the
    budget, so a longer experiment finds the nodes of a shorter one. A device `cuda` need not be on this machine; only
    the execution of a node requires it (`cl.execution.runner.run`).

    Args:
        train: training settings.
        parameters: number of parameters of the model.
        packed: whether all rows are packed text.

    Returns:
        Device, precision and whether to compile.

    Raises:
        UserError: if a setting cannot be resolved or cannot work on this machine.
    """
    device = train.device if train.device != "auto" else ("cuda" if has_cuda() else "cpu")
    if device == "cuda" and train.precision == "auto" and not has_cuda():
        raise UserError("train.precision: auto needs a cuda device on this machine; choose fp32 or bf16")
    precision = train.precision if train.precision != "auto" else ("bf16" if _has_bf16(device) else "fp32")
    compiler = device == "cuda" or bool(shutil.which("g++") or shutil.which("clang++"))
    if train.compile is True and not compiler:
        raise UserError("train.compile: true needs a C++ compiler (g++) on this machine; use false or auto")
    if sharded := train.processes > 1 and train.distributed == "fsdp":  # fsdp puts hooks into layers
        packed = False
    if sharded and train.compile is True:
        raise UserError("train.compile: true does not work with train.distributed: fsdp; use false or auto")
    compiled = compiler and packed and parameters >= WORTH_COMPILING if train.compile == "auto" else train.compile
    return device, precision, compiled


def attention(train: Train, device: str, precision: str, outline: Outline) -> Kernel | None:
    """Replace `train.attention` by the kernel that computes attention inside documents; None is SDPA.

    `auto` is the cheapest that is right (benchmarks/attention.py, packing.py). On a CPU: `varlen` for packed examples
    and rows of LONG tokens and more, else SDPA. On a GPU: `flash` in bf16 if flash-attn is there, else SDPA. A kernel
    that the model does not have is not chosen; nor is any for a model of the hub, which planning does not read.

    Args:
        train: training settings.
        device: `cpu` or `cuda`.
        precision: `fp32` or `bf16`.
        outline: the model without weights.

    Raises:
        UserError: for a kernel that the device, the precision or the model does not have.
    """
    asked = train.attention if train.attention != "auto" else _cheapest(train, device, precision)
    if asked == "sdpa":
        return None
    _check_kernel(asked, train, device, precision)
    if outline.origin == "hub":
        return None if train.attention == "auto" else asked
    from cl.models import attention as kernels

    try:
        kernels.use(outline.model, asked)
    except UserError:
        if train.attention == "auto":
            return None
        raise
    return asked


def _cheapest(train: Train, device: str, precision: str) -> Kernel | Literal["sdpa"]:
    if not train.boundaries:
        return "sdpa"
    if device == "cpu":
        return "varlen" if train.packing or train.sequence >= LONG else "sdpa"
    return "flash" if precision == "bf16" and find_spec("flash_attn") else "sdpa"


def _check_kernel(asked: Kernel, train: Train, device: str, precision: str) -> None:
    """Raises UserError for a kernel that the device or the settings rule out."""
    if asked == "varlen" and device != "cpu":
        raise UserError("train.attention: varlen goes through documents one by one, for a CPU; use flash or flex")
    if asked == "varlen" and not train.boundaries:
        raise UserError("train.attention: varlen has no effect with train.boundaries: false; use auto")
    if asked == "flex" and device == "cpu":
        raise UserError("train.attention: flex: FlexAttention has no backward pass on a CPU; use varlen or sdpa")
    if asked == "flash" and device == "cpu":
        raise UserError("train.attention: flash: FlashAttention needs a GPU (train.device: cuda); use varlen or sdpa")
    if asked == "flash" and precision != "bf16":
        raise UserError("train.attention: flash: FlashAttention does not compute in fp32; take precision: bf16")
    if asked == "flash" and not find_spec("flash_attn"):
        raise UserError("train.attention: flash: the package flash-attn is not installed; install it, or use flex")


@lru_cache
def has_cuda() -> bool:
    """Whether torch can use a GPU on this machine; torch is imported only if the driver's library is found."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        if sys.platform == "linux":
            return False
    import torch

    return torch.cuda.is_available()


@lru_cache
def _has_bf16(device: str) -> bool:
    """Whether bf16 is fast on the device: a GPU that supports it, a processor with matrix units (AMX)."""
    flags = Path("/proc/cpuinfo")
    if device == "cpu" and flags.is_file():
        return " amx_tile" in flags.read_text(encoding="utf-8", errors="replace")
    import torch

    return torch.cuda.is_bf16_supported() if device == "cuda" else torch.cpu._is_amx_tile_supported()
