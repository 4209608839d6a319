"""Adapters on peft: add an adapter to a model, merge adapters, store and load them.

    adapters/t1/ adapters/t2/ …   one peft folder per adapter, for plain `PeftModel.from_pretrained(base, folder)`
    adapters.json                 names of the adapters in order, and the use of each
    head.safetensors, head.json   the classifier, if the model has one (`cl.models.classifier_head`)

Uses of an adapter:

* `trained`: active and trainable;
* `frozen`: active, not trainable;
* `merged`: added to the weights;
* `kept`: stored but not loaded; it is used for the test of its own task.

A state with adapters holds no other weights; the base model is a parent of its node. Loading merges the stored adapters
into the base model each time, in fp32 and in the order of the tasks, so no rounding beyond fp32 adds up. A prompt
(embeddings before the input) is stored and used like an adapter. Neither a prompt nor an adapter of experts
(`cl.models.lora_experts`) can be merged.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from cl import durable
from cl.errors import UserError
from cl.models import classifier_head, lora_experts, pretrained, sharding

Life = Literal["continue", "stack", "merge", "alone"]
INDEX = "adapters.json"


def load(folder: Path, base: Path | None) -> Any:
    """Load the model of a stored state, in fp32, with the adapter of use `trained` trainable.

    Args:
        folder: folder of the state.
        base: folder of the base model; needed if the state holds adapters.
    """
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
    """Load the base model with one adapter of a stored state, whatever its use, or without adapter.

    Args:
        folder: folder of the state.
        base: folder of the base model.
        name: name of the adapter; None: no adapter.
    """
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
    """Add a fresh trainable adapter; existing adapters stay active and are frozen.

    Args:
        model: transformers or peft model.
        name: name of the adapter.
        config: peft configuration of the adapter.

    Returns:
        The peft model.

    Raises:
        UserError: if another method has made the model a peft model to train its weights.
    """
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
    """Merge the active adapters into the weights, in fp32; a model without adapters is returned unchanged.

    Raises:
        UserError: for a prompt or an adapter of experts, which no change of the weights can replace.
    """
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        return model
    if not mergeable(model):
        raise UserError("adapters: neither a prompt nor experts can be merged into weights; use the method lora")
    found = {name: use if use == "kept" else "merged" for name, use in uses(model).items()}
    plain = model.merge_and_unload()
    plain.cl_adapters = found
    return plain


def mergeable(model: Any) -> bool:
    """Whether the active adapters can be merged into the weights."""
    return prompt(model) is None and not lora_experts.present(model)


def bare(model: Any) -> Any:
    """Return the model without its adapters, whose use becomes `kept`."""
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        return model
    found = dict.fromkeys(uses(model), "kept")
    plain = model.base_model if prompt(model) is not None else model.unload()
    plain.cl_adapters = found
    return plain


def prompt(model: Any) -> Tensor | None:
    """Embeddings [P, D] of the model's prompt, with their graph; None if the model has no prompt."""
    if not hasattr(model, "prompt_encoder"):
        return None
    found: Tensor = model.get_prompt(1)[0]
    return found


def reader(model: Any) -> Any:
    """The model without its prompt, which takes the embeddings of prompt and input."""
    return model if prompt(model) is None else model.base_model


def uses(model: Any) -> dict[str, str]:
    """Use of each adapter by name, in the order in which adapters were added: trained, frozen, merged or kept."""
    return dict(getattr(model, "cl_adapters", {}))


def _activate(model: Any) -> None:
    """Activate the trained and frozen adapters and make only the trained one learn; a prompt is always active."""
    acting = _acting(model)
    if not acting:
        return
    if prompt(model) is None:
        model.base_model.set_adapter(acting)
    learns = names(model, "trained")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(f".{adapter}." in name for adapter in learns))


def save(model: Any, folder: Path, parent: Path) -> None:
    """Write a state: the adapters with their uses and the classifier, or the whole model if it has no adapters.

    Args:
        model: model of the state.
        folder: folder to write.
        parent: folder of the previous state, from which merged and kept adapters are copied.
    """
    found = uses(model)
    classifier_head.save(model, folder)
    if not found:
        plain = merged(model)  # merges the factors of a method that trains factored weights
        with classifier_head.apart(plain):
            pretrained.save(plain, folder)
        return
    present = _acting(model)
    for name in present:
        model.peft_config[name].base_model_name_or_path = ""  # a path in this store is useless elsewhere
        model.peft_config[name].inference_mode = False
    model.save_pretrained(folder / "adapters", selected_adapters=present)
    for name in present:
        _write_sets_in_order(folder / "adapters" / name / "adapter_config.json", model.peft_config[name])
    for name in found.keys() - set(present):
        shutil.copytree(parent / "adapters" / name, folder / "adapters" / name, copy_function=durable.link)
    (folder / "adapters" / "README.md").unlink(missing_ok=True)
    (folder / INDEX).write_text(json.dumps(found), encoding="utf-8")


def _write_sets_in_order(file: Path, config: Any) -> None:
    """Sort what peft writes in the order of a set, which differs from process to process."""
    content = json.loads(file.read_text(encoding="utf-8"))
    content |= {name: sorted(value) for name, value in content.items() if isinstance(getattr(config, name, None), set)}
    file.write_text(json.dumps(content, indent=2, sort_keys=True), encoding="utf-8")


def low_rank(model: nn.Module, name: str) -> dict[str, tuple[Any, Any, float]]:
    """Return the LoRA factors of an adapter by module; the update of the weight is scale * B @ A.

    An adapter of experts has no such update and gives no factors. Factors of a sharded model are made whole: every
    process must call, in each step anew.

    Args:
        model: model with the adapter.
        name: name of the adapter.

    Returns:
        A [r, in], B [out, r] and the scale, by path of the module.
    """
    found = {}
    for path, module in model.named_modules():
        if name in getattr(module, "lora_A", {}) and isinstance(module.lora_A[name], nn.Linear):
            a, b = (sharding.whole(factors[name].weight) for factors in (module.lora_A, module.lora_B))
            found[path] = (a, b, module.scaling[name])
    return found


def names(model: Any, use: str) -> list[str]:
    """Names of the model's adapters with a use (trained, frozen, merged, kept), in order."""
    return [name for name, found in uses(model).items() if found == use]


def _acting(model: Any) -> list[str]:
    return [name for name, use in uses(model).items() if use in ("trained", "frozen")]
