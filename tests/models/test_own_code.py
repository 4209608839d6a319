"""Folders whose models or tokenizers come with code of their own: it is run if allowed, and nobody is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cl.config.model import Model
from cl.errors import UserError
from cl.models import pretrained
from tests.support.training import dropout_model

OWN = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Own", "AutoTokenizer": ["own.Tokens", None]}


def test_own_code_is_refused_without_a_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asks on standard input"))
    folder = dropout_model(tmp_path / "model")
    (folder / "own.py").write_text("raise AssertionError('is run')\n")
    for name, changes in (
        ("config.json", {"auto_map": OWN, "model_type": "own"}),
        ("tokenizer_config.json", {"auto_map": OWN, "tokenizer_class": "Tokens"}),
    ):
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        (folder / name).write_text(json.dumps(content | changes), encoding="utf-8")
    model = Model(str(folder))
    with pytest.raises(UserError, match=r"no tokenizer for .*trust_remote_code"):
        pretrained.load_tokenizer(model)
    with pytest.raises(UserError, match="trust_remote_code"):
        pretrained.create(model, 300, 0, 0, sequence=32)
    with pytest.raises(UserError, match="trust_remote_code"):
        pretrained.parameters(model)
    with pytest.raises(UserError, match="trust_remote_code"):
        pretrained.load(folder)
    with pytest.raises(ValueError, match="trust_remote_code"):
        pretrained.stored_tokenizer(folder)
