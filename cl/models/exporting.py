"""A stored state as a folder for plain transformers or peft."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from cl.errors import UserError
from cl.models import adapters, classifier_head, lora_experts, pretrained

RECORDS = ("node.json",)
"""Files of a stored node that are not of its tokenizer."""


def write(state: Path, base: Path, tokenizer: Path, folder: Path, merged: bool, base_name: str) -> str:
    """Write the model of a state with its tokenizer.

    Args:
        state: folder of the state.
        base: folder of the base model.
        tokenizer: folder of the tokenizer.
        folder: folder to write; it exists.
        merged: merge adapters into the weights, in fp32.
        base_name: name or path of the base model, for an adapter's configuration.

    Returns:
        `transformers` or `peft`: the library that opens the folder.

    Raises:
        UserError: for a state that neither library can open.
    """
    if (state / classifier_head.INDEX).exists():
        raise UserError("export: the state has a classifier of its own, which transformers cannot open; it stays here")
    for file in tokenizer.iterdir():
        if file.is_file() and file.name not in RECORDS:
            shutil.copy(file, folder / file.name)
    index = state / adapters.INDEX
    uses = json.loads(index.read_text(encoding="utf-8")) if index.exists() else {}
    if not uses or merged:
        pretrained.save(adapters.merged(adapters.load(state, base)), folder)
        return "transformers"
    active = [name for name, use in uses.items() if use in ("trained", "frozen")]
    if len(active) != 1 or "merged" in uses.values():
        raise UserError(f"export: the state stands on {len(uses)} adapters, which one folder cannot hold; add --merged")
    if lora_experts.stored(state / "adapters" / active[0]):
        raise UserError("export: the adapter has experts, which plain peft cannot open; the state stays here")
    for file in (state / "adapters" / active[0]).iterdir():
        shutil.copy(file, folder / file.name)
    config = folder / "adapter_config.json"
    content = json.loads(config.read_text(encoding="utf-8")) | {"base_model_name_or_path": base_name}
    config.write_text(json.dumps(content, indent=2, sort_keys=True), encoding="utf-8")
    return "peft"
