"""Function tokens: the set and the groups by hand, and that the groups are the loss."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file

from cl.data.batches import collate
from cl.data.rows import rows
from cl.errors import UserError
from cl.models.forward import TokenLoss
from cl.probes.function_tokens import GROUPS, FunctionTokens, grouped, most_frequent
from cl.probes.probe import Data, State
from tests.support.data_node import SEQUENCE, data_folder
from tests.support.graph import planned
from tests.support.training import SEPARATOR, tiny


def test_the_fewest_tokens_that_cover_the_share() -> None:
    text = torch.tensor([7, 7, 7, 2, 2, 5, 5, 1, 3, 4])
    assert most_frequent(text, 0.3).tolist() == [7]
    assert most_frequent(text, 0.4).tolist() == [7, 2]  # of two equally frequent tokens the smaller id
    assert most_frequent(text, 0.6).tolist() == [7, 2, 5]
    assert most_frequent(text, 0.99).tolist() == [7, 2, 5, 1, 3, 4]


def test_groups_by_hand() -> None:
    nll, read, predicted = torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor([9, 9, 1, 1]), torch.tensor([9, 1, 1, 1])
    found = grouped(nll, read, predicted, torch.tensor([1]))
    assert found.tolist() == [[1.0, 2.0, 0.0, 12.0], [1.0, 1.0, 0.0, 2.0]]
    assert GROUPS == ("content_to_content", "content_to_function", "function_to_content", "function_to_function")


@pytest.fixture
def data(tmp_path: Path) -> Data:
    folders = {name: data_folder(tmp_path / name, seed=seed) for seed, name in enumerate(("english", "german"))}
    return Data(folders, SEQUENCE, "test")


def state(batch: int = 4) -> State:
    return State(TokenLoss(tiny().eval(), SEPARATOR, True), Path(), "cpu", batch)


def test_the_groups_sum_to_the_loss(data: Data) -> None:
    probed = state(batch=3)
    found = FunctionTokens(rows=7).measure(probed, data)
    for name, folder in data.folders.items():
        chosen = [rows(folder, name, "test", SEQUENCE)[row] for row in range(7)]
        with torch.no_grad():
            loss = float(probed.loss.total(collate(chosen, SEPARATOR))) / (7 * SEQUENCE)
        total = sum(found[name][group] * found[name][f"share_{group}"] for group in GROUPS)
        assert total == pytest.approx(loss, abs=1e-6)
        assert sum(found[name][f"share_{group}"] for group in GROUPS) == pytest.approx(1.0, abs=1e-12)


def test_logits_in_chunks_are_the_same(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = FunctionTokens().measure(state(), data)
    monkeypatch.setattr("cl.models.losses.chunk_size", lambda vocabulary: 5)
    assert FunctionTokens().measure(state(), data)["german"] == pytest.approx(whole["german"], abs=1e-6)


def test_the_set_is_fixed_by_one_training_split_for_all_sets_and_states(data: Data) -> None:
    first, second = (FunctionTokens(of=name).measure(state(), data) for name in ("english", "german"))
    assert FunctionTokens().measure(state(), data) == first != second
    tokens = torch.from_numpy(load_file(data.folders["english"] / "tokens.safetensors")["train"]).long()
    german = torch.from_numpy(load_file(data.folders["german"] / "tokens.safetensors")["test"])
    predicted = torch.isin(german[1:], most_frequent(tokens, 0.4)).double().mean()
    shares = first["german"]
    to_function = shares["share_content_to_function"] + shares["share_function_to_function"]
    assert to_function == pytest.approx(float(predicted))


def test_a_group_without_tokens_has_no_loss(data: Data) -> None:
    found = FunctionTokens(cover=0.999).measure(state(), data)["english"]  # every token is a function token
    assert found["share_content_to_content"] == 0.0
    assert "content_to_content" not in found
    assert found["share_function_to_function"] == 1.0


def test_a_set_that_is_no_task_is_refused_while_planning(toy: Path) -> None:
    with pytest.raises(UserError, match=r"function_tokens: .*: of: 'english2' is unknown; did you mean 'english'"):
        planned("--probes={function_tokens: {of: english2}}")
    with pytest.raises(UserError, match=r"probes\.function_tokens: cover: 40\.0 must lie between 0 and 1"):
        planned("--probes={function_tokens: {cover: 40}}")
    assert planned("--probes={function_tokens: {of: german}}").runs[0].probes
