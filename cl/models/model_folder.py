"""A directory that holds a model: its content for keys, and what is wrong with it, found before anything is loaded."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from cl.errors import UserError

CAUSAL = re.compile(r"(ForCausalLM|LMHeadModel)$")
"""Names of transformers classes, and of most others, that predict the next token."""
POINTER = b"version https://git-lfs"
NOTES = (".md", ".gitattributes")


@lru_cache
def content(folder: str) -> str:
    """Hash of all files of a folder and its subfolders, without hidden ones and notes (Markdown)."""
    total = hashlib.sha256()
    for path in sorted(_files(Path(folder))):
        with path.open("rb") as file:
            name = path.relative_to(folder).as_posix()
            total.update(f"{name}:{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()[:16]


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden and not path.name.endswith(NOTES):
            yield path


def check(folder: Path, trust_remote_code: bool) -> None:
    """Check that a folder holds a causal language model whose weights can be trained.

    Args:
        folder: the folder.
        trust_remote_code: whether code in the folder may be run.

    Raises:
        UserError: with the remedy.
    """
    for path in _files(folder):
        with path.open("rb") as file:
            if file.read(len(POINTER)) == POINTER:
                raise _wrong(folder, f"{path.name} is a Git LFS pointer, not the file; run `git lfs pull` there")
    config = _config(folder)
    _check_class(folder, config, trust_remote_code)
    if stated := config.get("quantization_config"):
        method = stated.get("quant_method", "quantised") if isinstance(stated, dict) else stated
        raise _wrong(folder, f"its weights are quantised ({method}) and cannot be trained; save a dequantised copy")
    _check_weights(folder)


def _wrong(folder: Path, reason: str) -> UserError:
    return UserError(f"model.name: {str(folder)!r}: {reason}")


def _config(folder: Path) -> dict[str, Any]:
    """The configuration. Raises UserError where there is none."""
    path = folder / "config.json"
    if not path.is_file():
        if (folder / "adapter_config.json").is_file():
            raise _wrong(folder, "holds an adapter; merge it into its base model (`merge_and_unload`) and save that")
        if any(folder.glob("*.gguf")):
            raise _wrong(folder, "holds a GGUF file only; load it by transformers (`gguf_file=`) and save the model")
        raise _wrong(folder, "has no config.json; name the folder that `save_pretrained` wrote")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _wrong(folder, f"config.json is no JSON: {error}; restore it") from error
    if not isinstance(found, dict) or not isinstance(found.get("model_type", ""), str):
        raise _wrong(folder, "config.json is no configuration of a model; restore it")
    return found


def _check_class(folder: Path, config: dict[str, Any], trust_remote_code: bool) -> None:
    """Raises UserError where the model does not predict the next token, or needs code that may not be run."""
    stated = config.get("architectures") or []
    named = stated if isinstance(stated, list) else [stated]
    if config.get("is_encoder_decoder") or (named and not any(CAUSAL.search(str(name)) for name in named)):
        kind = ", ".join(map(str, named)) or config.get("model_type")
        if "text_config" in config:
            raise _wrong(folder, f"{kind} reads more than text; save its language model (`language_model`) apart")
        raise _wrong(folder, f"{kind} is no causal language model; name one (…ForCausalLM)")
    if config.get("auto_map") and not trust_remote_code:
        from transformers import CONFIG_MAPPING

        if config.get("model_type") not in CONFIG_MAPPING:
            raise _wrong(folder, "needs its own code; read it, then set model.trust_remote_code: true")


def _check_weights(folder: Path) -> None:
    """Raises UserError where files of weights are missing or cut off."""
    weights = [path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin")]
    if not weights:
        raise _wrong(folder, "has no weights (*.safetensors); name the folder that `save_pretrained` wrote")
    for index in folder.glob("*.index.json"):
        try:
            named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _wrong(folder, f"{index.name} is no index of weights; restore it") from error
        if missing := sorted(name for name in named if not (folder / name).is_file()):
            raise _wrong(folder, f"{missing[0]} is missing, which {index.name} names; download it")
    for path in weights:
        if path.suffix == ".safetensors" and (expected := _stated_size(path)) != path.stat().st_size:
            size = "an unreadable header" if expected is None else f"{path.stat().st_size} of {expected} bytes"
            raise _wrong(folder, f"{path.name} is damaged or cut off ({size}); download it again")


def _stated_size(path: Path) -> int | None:
    """Size in bytes that the header of a safetensors file states; None if there is no header."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            return None
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
    return 8 + length + max(ends, default=0)


def pooling(folder: Path) -> str:
    """How a folder of sentence-transformers says that states become a vector; `mean` where it says nothing.

    Raises:
        UserError: if the file that says it is damaged.
    """
    file = folder / "1_Pooling" / "config.json"
    if not file.is_file():
        return "mean"
    try:
        stated = dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"model: {str(file)!r} is no JSON object: {error}; restore it") from error
    modes = [key for key, value in stated.items() if key.startswith("pooling_mode_") and value is True]
    named = stated.get("pooling_mode") or " and ".join(modes)
    return "mean" if named in ("mean", "pooling_mode_mean_tokens") else str(named)
