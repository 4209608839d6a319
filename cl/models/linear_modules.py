"""Which linear modules of a model a method adapts: all of them by default, or those that a setting `targets` names."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from cl.errors import UserError

ALL = "all-linear"
FUSED_SCANS = {"falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h"}
"""Families whose kernels read the weights of `out_proj` and `conv1d` directly, so that adapters there have no effect
(peft refuses them)."""

ROUTER = re.compile("Router|Gate")
"""Subclasses of `nn.Linear` that choose experts: their output is not that of a linear module."""


def names(model: Any, targets: str | list[str], convolutions: bool = True) -> list[str]:
    """Names of the modules that `targets` chooses, without the prefix of a peft wrapper.

    A name in a list chooses modules whose path ends with it, a regular expression those whose whole path it matches, as
    in peft. `all-linear` chooses all linear modules but the output layer, routers, and what the family cannot adapt.

    Args:
        model: transformers or peft model, possibly without weights (meta device).
        targets: names of modules, a regular expression, or `all-linear`.
        convolutions: whether the linear modules of GPT-2 (`Conv1D`, transposed weights) can be adapted.

    Raises:
        UserError: for a name that no module has, for a module that is not linear, and if nothing is chosen.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    linear, head = _linear(base, convolutions), base.get_output_embeddings()
    if targets == ALL:
        if inner := [name for name in linear if base.get_submodule(name) is not head]:
            return inner
        raise UserError(f"targets: {base.config.model_type} has no linear modules that can be adapted; use finetune")
    every = {name.removesuffix(".base_layer") for name, _ in base.named_modules() if name and ".lora_" not in name}
    wanted = [targets] if isinstance(targets, str) else list(targets)
    chosen = set[str]()
    for target in wanted:
        found = _matching(every, target, pattern=isinstance(targets, str))
        if not found:
            raise UserError(f"targets: no module is called {target!r}; linear modules are {_some(linear)}")
        if other := sorted(found - set(linear)):
            raise UserError(f"targets: {other[0]} cannot be adapted; linear modules are {_some(linear)}")
        chosen |= found
    if not chosen:
        raise UserError(f"targets: is empty; name some of {_some(linear)}, or {ALL}")
    return sorted(chosen)


def ends(model: Any) -> list[str]:
    """Names of the modules of the input embeddings and of the output layer, without the prefix of a peft wrapper."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    wanted = {id(end) for end in (base.get_input_embeddings(), base.get_output_embeddings()) if end is not None}
    return [name for name, module in base.named_modules() if id(module) in wanted]


def _linear(base: Any, convolutions: bool) -> list[str]:
    """Names of the linear modules that can be adapted."""
    from transformers.pytorch_utils import Conv1D

    kinds = (nn.Linear, Conv1D) if convolutions else nn.Linear
    found = []
    for path, module in base.named_modules():
        name = path.removesuffix(".base_layer")
        if ".lora_" in name or (base.config.model_type in FUSED_SCANS and name.endswith("out_proj")):
            continue
        if isinstance(module, kinds) and not ROUTER.search(type(module).__name__):
            found.append(name)
    return found


def _matching(every: set[str], target: str, pattern: bool) -> set[str]:
    if not pattern:
        return {name for name in every if name == target or name.endswith(f".{target}")}
    try:
        return {name for name in every if re.fullmatch(target, name)}
    except re.error as error:
        raise UserError(f"targets: {target!r} is no regular expression: {error}; correct it, or give a list") from error


def _some(linear: list[str]) -> str:
    """The last parts of the names of linear modules, each once."""
    return ", ".join(dict.fromkeys(name.rsplit(".", 1)[-1] for name in linear))
