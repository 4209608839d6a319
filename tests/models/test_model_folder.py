"""Folders that hold no model that can learn are refused while planning, in one line that names the remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cl.config.model import Model
from cl.errors import UserError
from cl.models import model_folder, pretrained
from tests.support.training import tiny


def written(folder: Path) -> Path:
    pretrained.save(tiny(), folder)
    return folder


def configured(**changes: Any) -> Callable[[Path], None]:
    """Change config.json."""

    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def emptied(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def adapter(folder: Path) -> None:
    emptied(folder)
    (folder / "adapter_config.json").write_text("{}")
    save_file({"a": torch.zeros(1)}, folder / "adapter_model.safetensors")


def pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n")


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"<html>not found</html>")


def sharded(folder: Path) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": ')


def gguf(folder: Path) -> None:
    emptied(folder)
    (folder / "model.gguf").write_bytes(b"GGUF")


GPTQ = configured(quantization_config={"quant_method": "gptq", "bits": 4})
T5 = configured(architectures=["T5ForConditionalGeneration"], is_encoder_decoder=True)
HEADLESS = configured(architectures=["LlamaModel"])
IMAGES = configured(architectures=["Gemma3ForConditionalGeneration"], text_config={"model_type": "gemma3_text"})
OWN_CODE = configured(model_type="own", auto_map={"AutoModelForCausalLM": "modeling_own.Own"})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (emptied, r"has no config\.json; name the folder that `save_pretrained` wrote"),
        (adapter, "holds an adapter; merge it into its base model"),
        (gguf, "holds a GGUF file only; load it by transformers"),
        (no_json, r"config\.json is no JSON: .*; restore it"),
        (pointer, r"model\.safetensors is a Git LFS pointer, not the file; run `git lfs pull`"),
        (cut, r"model\.safetensors is damaged or cut off \(\d+ of \d+ bytes\); download it again"),
        (header, r"model\.safetensors is damaged or cut off \(an unreadable header\)"),
        (sharded, r"model-00001-of-00002\.safetensors is missing, which model\.safetensors\.index\.json names"),
        (without_weights, "has no weights"),
        (GPTQ, r"its weights are quantised \(gptq\) and cannot be trained; save a dequantised copy"),
        (T5, "T5ForConditionalGeneration is no causal language model"),
        (HEADLESS, "LlamaModel is no causal language model"),
        (IMAGES, "Gemma3ForConditionalGeneration reads more than text; save its language model"),
        (OWN_CODE, r"needs its own code; read it, then set model\.trust_remote_code: true"),
    ],
)
def test_a_folder_that_is_no_model_is_refused_in_one_line(
    damage: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    damage(written(tmp_path))
    with pytest.raises(UserError, match=rf"model\.name: .*: {words}") as caught:
        model_folder.check(tmp_path, trust_remote_code=False)
    assert "\n" not in str(caught.value)


def test_a_whole_folder_passes(tmp_path: Path) -> None:
    model_folder.check(written(tmp_path), trust_remote_code=False)


@pytest.mark.parametrize("file", ["chat_template.jinja", "tokenizer.model.v3", "sub/part.bin", "spiece.vocab"])
def test_every_file_is_content_but_notes_and_hidden_ones(file: str, tmp_path: Path) -> None:
    folder = written(tmp_path)
    before = model_folder.content(str(folder))
    (folder / "README.md").write_text("a note")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("main")
    model_folder.content.cache_clear()
    assert model_folder.content(str(folder)) == before
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text("new")
    model_folder.content.cache_clear()
    assert model_folder.content(str(folder)) != before


def opened(folder: Path) -> Any:
    return pretrained.create(Model(name=str(folder)), 50, 0, None, 32)


def test_weights_that_no_file_has_are_refused_where_transformers_would_draw_them(tmp_path: Path) -> None:
    tensors = load_file(written(tmp_path) / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"have no weights for model\.layers\.1\.mlp\.up_proj\.weight; save the whole"):
        opened(tmp_path)


def test_weights_that_are_no_numbers_are_refused_before_they_are_trained(tmp_path: Path) -> None:
    tensors = load_file(written(tmp_path) / "model.safetensors")
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"model\.norm\.weight holds NaN or infinity; download the weights again"):
        opened(tmp_path)


def test_weights_of_another_shape_are_one_line(tmp_path: Path) -> None:
    configured(intermediate_size=48)(written(tmp_path))
    with pytest.raises(UserError, match=r"model\.name: cannot load") as caught:
        opened(tmp_path)
    assert "\n" not in str(caught.value)
