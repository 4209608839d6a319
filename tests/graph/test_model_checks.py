"""What a model's architecture cannot do is refused while planning: nothing has been computed by then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cl import cli
from cl.models import pretrained
from tests.support import families
from tests.support.instruction import write_stream
from tests.support.training import dropout_model, write_toy


def planned(folder: Path, monkeypatch: pytest.MonkeyPatch, model: str, *settings: str, **changes: Any) -> int:
    write_toy(folder, **({"model": {"name": model}} if model else {}), **changes)
    monkeypatch.chdir(folder)
    return cli.main(["plan", "toyexp.yaml", *settings])


@pytest.mark.parametrize(
    ("label", "targets", "words"),
    [
        ("lora_sequential", "[q_porj]", "lora: targets: no module is called 'q_porj'"),
        ("moe_lora", "'('", "moe_lora: targets: '(' is no regular expression"),
        ("osf", "[embed_tokens]", "osf: targets: model.embed_tokens cannot be adapted"),
    ],
)
def test_targets_are_judged_by_the_model(
    label: str, targets: str, words: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = label.removesuffix("_sequential")
    setting = f"--strategies.{label}.{method}.targets={targets}"
    assert planned(tmp_path, monkeypatch, "", setting, strategies={label: None}) == 2
    assert f"strategies.{label}: {words}" in (said := capsys.readouterr().err)
    assert said.count("\n") == 1
    assert not list(tmp_path.glob("store/nodes/*"))


def directory(folder: Path, family: str) -> Path:
    """A directory with a model of a family and a tokenizer."""
    dropout_model(folder)
    for path in folder.glob("*.safetensors"):
        path.unlink()
    pretrained.save(families.model(family), folder)
    return folder


def test_a_method_that_needs_other_modules_refuses_a_directory_s_model(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = directory(tmp_path / "gpt2", "gpt2")
    assert planned(tmp_path / "toy", monkeypatch, str(folder), strategies={"osf": None}) == 2
    assert "strategies.osf: osf: targets: gpt2 has no linear modules that can be adapted" in capsys.readouterr().err


def test_a_model_that_reads_documents_in_groups_is_not_sharded(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = directory(tmp_path / "mamba", "mamba")
    sharded = ("--train.devices=2", "--train.distributed=fsdp")
    assert planned(tmp_path / "toy", monkeypatch, str(folder), *sharded) == 2
    assert "train.distributed: fsdp: mamba reads the documents of a row in groups" in capsys.readouterr().err
    assert planned(tmp_path / "toy", monkeypatch, str(folder), "--train.devices=2", "--train.distributed=ddp") == 0


@pytest.mark.parametrize(
    ("family", "label", "words"),
    [
        (
            "gemma2",
            "lora_der",
            "der: gemma2 changes its logits after the output layer, and only hidden states",
        ),
        ("gemma2", "seq_star", "seq_star: gemma2 changes its logits after the output layer"),
        ("bamba", "prompt_tuning", "prompts: bamba does not take embeddings in place of tokens; use lora"),
        ("mamba", "prompt_tuning", "prompts: mamba does not take embeddings in place of tokens; use lora"),
    ],
)
def test_what_an_architecture_cannot_carry_is_refused(
    family: str, label: str, words: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = directory(tmp_path / family, family)
    (tmp_path / "toy").mkdir()
    write_stream(tmp_path / "toy", model={"name": str(folder)}, strategies={label: None})
    monkeypatch.chdir(tmp_path / "toy")
    assert cli.main(["plan", "toyexp.yaml"]) == 2
    assert f"strategies.{label}: {words}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["--train.attention=flex"], "train.attention: flex: FlexAttention has no backward pass on a CPU"),
        (["--train.attention=flash"], "train.attention: flash: FlashAttention needs a GPU"),
        (["--train.packing=true"], "train.packing: has no effect: toy is text, whose rows are full; leave it out"),
    ],
)
def test_attention_and_packing_without_effect_are_refused(
    settings: list[str], words: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert planned(tmp_path, monkeypatch, "", *settings) == 2
    assert words in (said := capsys.readouterr().err)
    assert said.count("\n") == 1


def test_a_prompt_before_each_example_is_not_packed(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_stream(tmp_path, train={"packing": True}, strategies={"prompt_tuning": None, "lora_sequential": None})
    monkeypatch.chdir(tmp_path)
    assert cli.main(["plan", "toyexp.yaml"]) == 2
    assert "train.packing: Prompts needs one example per row; set it to false" in capsys.readouterr().err


def test_a_family_that_reads_documents_one_by_one_is_not_packed(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = directory(tmp_path / "bloom", "bloom")
    (tmp_path / "toy").mkdir()
    write_stream(tmp_path / "toy", train={"packing": True}, model={"name": str(folder)})
    monkeypatch.chdir(tmp_path / "toy")
    assert cli.main(["plan", "toyexp.yaml"]) == 2
    assert "train.packing: bloom reads each document as a row of its own; set it to false" in capsys.readouterr().err
