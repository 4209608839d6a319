"""Adapters on peft: how one is added to a model, merged into it, stored and opened again.

    adapters/t1/ adapters/t2/ …   a peft folder each: plain `PeftModel.from_pretrained(base, folder)` opens it
    adapters.json                 their names in order, and how each is used: trained, frozen or merged

A state with adapters holds no other weights: it stands on the base model, which is a parent of its nodes. Merging
is done in fp32, in the order of the tasks, from the stored adapters each time, so no rounding adds up beyond fp32's.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, Literal

from torch import nn

from cl import models

Life = Literal["continue", "stack", "merge"]
INDEX = "adapters.json"


def load(folder: Path, base: Path | None) -> Any:
    """The model of a stored state, in fp32, the last adapter trainable; base: folder that a state of adapters needs."""
    if not (folder / INDEX).exists():
        return models.load(folder)
    assert base is not None, f"{folder} holds adapters only"
    model = models.load(base)
    for name, use in json.loads((folder / INDEX).read_text(encoding="utf-8")).items():
        model = _open(model, folder / "adapters" / name, name)
        model.cl_adapters[name] = use
        if use == "merged":
            model = merged(model)
    _activate(model)
    return model


def _open(model: Any, folder: Path, name: str) -> Any:
    from peft import PeftModel

    found = uses(model)
    if isinstance(model, PeftModel):
        model.load_adapter(str(folder), name, torch_device="cpu")
    else:
        model = PeftModel.from_pretrained(model, str(folder), name, torch_device="cpu")
    model.cl_adapters = found
    return model


def add(model: Any, name: str, config: Any) -> Any:
    """Add a fresh trainable adapter; those that are there stay active and are frozen."""
    from peft import PeftModel

    before = {old: "frozen" if use == "trained" else use for old, use in uses(model).items()}
    if isinstance(model, PeftModel):
        model.add_adapter(name, config)
    else:
        model = PeftModel(model, config, name)
    model.cl_adapters = {**before, name: "trained"}
    _activate(model)
    return model


def merged(model: Any) -> Any:
    """The model with all its adapters merged into its weights (in fp32); without adapters, as it is."""
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        return model
    found = dict.fromkeys(uses(model), "merged")
    plain = model.merge_and_unload()
    plain.cl_adapters = found
    return plain


def uses(model: Any) -> dict[str, str]:
    """How each adapter that the model was given is used, by name and in order: trained, frozen or merged."""
    return dict(getattr(model, "cl_adapters", {}))


def _activate(model: Any) -> None:
    """All adapters that are not merged act; only the one marked `trained` learns."""
    acting = [name for name, use in uses(model).items() if use != "merged"]
    if not acting:
        return
    model.base_model.set_adapter(acting)
    learns = names(model, "trained")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(f".{adapter}." in name for adapter in learns))


def save(model: Any, folder: Path, parent: Path) -> None:
    """Write a state: the adapters and what they stand for, or the whole model where it has none.

    parent: folder of the state before, from which merged adapters are carried over.
    """
    found = uses(model)
    if not found:
        models.save(model, folder)
        return
    present = [name for name, use in found.items() if use != "merged"]
    for name in present:
        model.peft_config[name].base_model_name_or_path = ""  # a path of this store says nothing elsewhere
        model.peft_config[name].inference_mode = False
    model.save_pretrained(folder / "adapters", selected_adapters=present)
    for name in found.keys() - set(present):
        shutil.copytree(parent / "adapters" / name, folder / "adapters" / name, copy_function=_link)
    (folder / "adapters" / "README.md").unlink(missing_ok=True)
    (folder / INDEX).write_text(json.dumps(found), encoding="utf-8")


def _link(source: str, target: str) -> None:
    """A hard link where the file system has them: a stored adapter never changes."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def low_rank(model: nn.Module, name: str) -> dict[str, tuple[Any, Any, float]]:
    """The LoRA factors of an adapter by module: A [r, in], B [out, r] and the scale: its update is scale * B @ A."""
    found = {}
    for path, module in model.named_modules():
        if name in getattr(module, "lora_A", {}):
            found[path] = (module.lora_A[name].weight, module.lora_B[name].weight, module.scaling[name])
    return found


def names(model: Any, use: str) -> list[str]:
    """Names of the model's adapters that are used in this way (trained, frozen, merged), in order."""
    return [name for name, found in uses(model).items() if found == use]
