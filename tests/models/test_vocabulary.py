"""A larger vocabulary: which tokens are added, with what their embeddings begin, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from cl.config.model import Model
from cl.errors import UserError
from cl.models import pretrained, vocabulary
from tests.support.training import dropout_model, execute, learn, plan, write_toy

NEW = (" Straße", " über")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dropout_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def own(directory: Path) -> Any:
    return AutoTokenizer.from_pretrained(directory)


@pytest.fixture
def extended(directory: Path) -> Any:
    found = AutoTokenizer.from_pretrained(directory)
    vocabulary.add(found, NEW)
    return found


@pytest.mark.parametrize("tied", [False, True])
def test_a_new_token_begins_as_the_mean_of_its_pieces(directory: Path, own: Any, extended: Any, tied: bool) -> None:
    model = pretrained.load(directory)
    if tied:
        model.config.tie_word_embeddings = True
        model.tie_weights()
    before = [layer.weight.clone() for layer in (model.get_input_embeddings(), model.get_output_embeddings())]
    vocabulary.extend(model, own, extended, "pieces")
    after = [layer.weight for layer in (model.get_input_embeddings(), model.get_output_embeddings())]
    assert model.config.vocab_size == 302
    for old, new in zip(before, after, strict=True):
        assert torch.equal(new[:300], old)
        for number, token in enumerate(NEW, 300):
            assert torch.equal(new[number], old[own(token)["input_ids"]].mean(0))
    assert (after[0].data_ptr() == after[1].data_ptr()) == tied


def test_or_as_the_mean_of_all(directory: Path, own: Any, extended: Any) -> None:
    model = pretrained.load(directory)
    mean = model.get_input_embeddings().weight.mean(0)
    vocabulary.extend(model, own, extended, "mean")
    assert torch.equal(model.get_input_embeddings().weight[301], mean)


def test_a_text_is_read_in_fewer_tokens_and_comes_back(own: Any, extended: Any) -> None:
    text = "Die Straße führt über den Fluss."
    assert len(extended(text)["input_ids"]) < len(own(text)["input_ids"])
    assert extended.decode(extended(text)["input_ids"]) == text


def test_tokens_are_a_list_or_lines_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text(" Straße\n über\n", encoding="utf-8")
    assert vocabulary.added(Model("m", add_tokens=str(tmp_path / "new.txt"))) == NEW
    assert vocabulary.added(Model("m", add_tokens=list(NEW))) == NEW
    assert vocabulary.added(Model("m")) == ()


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ([], "holds no token, or an empty one"),
        (["a", " "], "holds no token, or an empty one"),
        (["a", "b", "a"], "'a' is listed twice"),
        ("absent.txt", r"model\.add_tokens: absent\.txt: .*No such file.*; give a text file, or a list"),
    ],
)
def test_tokens_that_cannot_be_added(given: Any, error: str) -> None:
    with pytest.raises(UserError, match=error):
        vocabulary.added(Model("m", add_tokens=given))


def test_a_known_token_and_another_numbering_are_refused(directory: Path, own: Any, extended: Any) -> None:
    with pytest.raises(UserError, match="' Straße' is a token of the tokenizer already"):
        vocabulary.add(extended, NEW)
    with pytest.raises(UserError, match="in another way than the model's own tokenizer; use one that only adds"):
        vocabulary.extend(pretrained.load(directory), extended, own, "pieces")


def test_a_token_that_is_not_given_back_as_written_is_refused(own: Any) -> None:
    with pytest.raises(UserError, match=r"'Straße' is given back as .*; write it with the space"):
        vocabulary.add(own, ("Straße",))


def test_a_stream_learns_a_language_with_new_tokens(tmp_path: Path, directory: Path) -> None:
    model = {"name": str(directory), "add_tokens": ["und ", " die "]}
    folder = write_toy(tmp_path, model=model, train={"embedding_lr": 0.5}, tokens=1024, strategies={"finetune": None})
    graph, store = plan(folder)
    execute(folder, graph.runs[0].rows[0], store)
    states = [pretrained.load(path) for path in learn(folder)]
    assert [state.config.vocab_size for state in states] == [302, 302]
    plain, _ = plan(folder, f"--model={{name: {directory}}}")
    assert plain.base.key != graph.base.key
    assert plain.data["german"].key != graph.data["german"].key


def test_adding_to_a_tokenizer_that_is_trained_has_no_effect(tmp_path: Path) -> None:
    folder = write_toy(tmp_path, model={"name": "llama-tiny", "vocabulary": 300, "add_tokens": ["x"]})
    with pytest.raises(UserError, match=r"model\.add_tokens: has no effect: the tokenizer is trained on the stream"):
        plan(folder)


def test_a_rate_of_embeddings_that_nothing_trains_is_refused(tmp_path: Path) -> None:
    folder = write_toy(tmp_path, strategies={"lora_sequential": None}, train={"embedding_lr": 0.1})
    with pytest.raises(UserError, match=r"train\.embedding_lr: has no effect: lora trains no embeddings"):
        plan(folder)
    plan(folder, "--strategy.lora.embeddings=true")
