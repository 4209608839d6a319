"""Adapters on peft: how one is added to a model, merged into it, stored and opened again.

    adapters/t1/ adapters/t2/ …   a peft folder each: plain `PeftModel.from_pretrained(base, folder)` opens it
    adapters.json                 their names in order, and how each is used: trained, frozen, merged or kept
    head.safetensors, head.json   a classifier, where the model has one (`cl.models.classifier_head`)

A state with adapters holds no other weights: it stands on the base model, which is a parent of its nodes. Merging
is done in fp32, in the order of the tasks, from the stored adapters each time, so no rounding adds up beyond fp32's.
An adapter that is kept does not act and is not even opened: it waits for the test of its own task. A prompt, which is
read before the input, is stored and used like an adapter; neither it nor one
of experts (`cl.models.lora_experts`) can be merged.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from cl.errors import UserError
from cl.models import classifier_head, lora_experts, pretrained

Life = Literal["continue", "stack", "merge", "alone"]
INDEX = "adapters.json"


def load(folder: Path, base: Path | None) -> Any:
    """The model of a stored state, in fp32, the last adapter trainable; base: folder that a state of adapters needs."""
    if not (folder / INDEX).exists():
        return classifier_head.load(pretrained.load(folder), folder)
    assert base is not None, f"{folder} holds adapters only"
    model = classifier_head.load(pretrained.load(base), folder)
    for name, use in json.loads((folder / INDEX).read_text(encoding="utf-8")).items():
        if use != "kept":
            model = _open(model, folder / "adapters" / name, name)
        model.cl_adapters = uses(model) | {name: use}
        if use == "merged":
            model = merged(model)
    _activate(model)
    return model


def alone(folder: Path, base: Path, name: str | None) -> Any:
    """The base model with one adapter of a stored state, whatever the state makes of it, or with none."""
    model = classifier_head.load(pretrained.load(base), folder)
    return model if name is None else _open(model, folder / "adapters" / name, name)


def _open(model: Any, folder: Path, name: str) -> Any:
    from peft import PeftModel

    found = uses(model)
    if isinstance(model, PeftModel):
        model.load_adapter(str(folder), name, torch_device="cpu")
    else:
        model = PeftModel.from_pretrained(model, str(folder), name, torch_device="cpu")
    lora_experts.restore(model, name, folder)
    model.cl_adapters = found
    return model


def add(model: Any, name: str, config: Any) -> Any:
    """Add a fresh trainable adapter; those that are there stay active and are frozen."""
    from peft import PeftModel

    if isinstance(model, PeftModel) and not uses(model):
        raise UserError("adapters: another method trains the weights themselves; leave one of the two out")
    before = {old: "frozen" if use == "trained" else use for old, use in uses(model).items()}
    if isinstance(model, PeftModel):
        model.add_adapter(name, config)
    else:
        model = PeftModel(model, config, name)
    model.cl_adapters = {**before, name: "trained"}
    _activate(model)
    return model


def merged(model: Any) -> Any:
    """The model with the adapters that act merged into its weights (in fp32); without adapters, as it is.

    Raises UserError for one that no change of the weights can stand for.
    """
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        return model
    if not mergeable(model):
        raise UserError("adapters: neither a prompt nor experts can be merged into weights; use lora where one merges")
    found = {name: use if use == "kept" else "merged" for name, use in uses(model).items()}
    plain = model.merge_and_unload()
    plain.cl_adapters = found
    return plain


def mergeable(model: Any) -> bool:
    """Whether a plain model can stand for the model with its adapters."""
    return prompt(model) is None and not lora_experts.present(model)


def bare(model: Any) -> Any:
    """The model without its adapters, which from now on are kept: stored, but of no effect."""
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        return model
    found = dict.fromkeys(uses(model), "kept")
    plain = model.base_model if prompt(model) is not None else model.unload()
    plain.cl_adapters = found
    return plain


def prompt(model: Any) -> Tensor | None:
    """Embeddings [P, D] that the model reads before its input, with their graph; None where it has no prompt."""
    if not hasattr(model, "prompt_encoder"):
        return None
    found: Tensor = model.get_prompt(1)[0]
    return found


def reader(model: Any) -> Any:
    """What reads the prompt's embeddings and the input's: the model without its prompt."""
    return model if prompt(model) is None else model.base_model


def uses(model: Any) -> dict[str, str]:
    """How each adapter that the model was given is used, by name and in order: trained, frozen, merged or kept."""
    return dict(getattr(model, "cl_adapters", {}))


def _activate(model: Any) -> None:
    """All adapters that are trained or frozen act; only the one marked `trained` learns. A prompt acts by itself."""
    acting = _acting(model)
    if not acting:
        return
    if prompt(model) is None:
        model.base_model.set_adapter(acting)
    learns = names(model, "trained")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(f".{adapter}." in name for adapter in learns))


def save(model: Any, folder: Path, parent: Path) -> None:
    """Write a state: the adapters and what they stand for, or the whole model where it has none.

    parent: folder of the state before, from which merged and kept adapters are carried over.
    """
    found = uses(model)
    classifier_head.save(model, folder)
    if not found:
        plain = merged(model)  # of a method that factors the weights for a stage
        with classifier_head.apart(plain):
            pretrained.save(plain, folder)
        return
    present = _acting(model)
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
    """The LoRA factors of an adapter by module: A [r, in], B [out, r] and the scale: its update is scale * B @ A.

    Without an adapter of experts, which has no such update.
    """
    found = {}
    for path, module in model.named_modules():
        if name in getattr(module, "lora_A", {}) and isinstance(module.lora_A[name], nn.Linear):
            found[path] = (module.lora_A[name].weight, module.lora_B[name].weight, module.scaling[name])
    return found


def names(model: Any, use: str) -> list[str]:
    """Names of the model's adapters that are used in this way (trained, frozen, merged, kept), in order."""
    return [name for name, found in uses(model).items() if found == use]


def _acting(model: Any) -> list[str]:
    return [name for name, use in uses(model).items() if use in ("trained", "frozen")]
