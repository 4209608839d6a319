"""The classifier: logits, features and answers by hand, and its way through storage, adapters and merging."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cl.data.batches import collate
from cl.data.rows import IGNORE, Row
from cl.errors import UserError
from cl.models import adapters, classifier_head, pretrained
from cl.models.classifier_head import SPARE, Head
from cl.models.forward import TokenLoss
from cl.models.losses import Outputs
from strategies.adapters.lora import Lora
from tests.support.training import SEPARATOR, tiny

A, B, C = (5, 9), (6, 7, 9), (8, 9)  # answers with their end of turn


def head_of(weights: list[list[float]], classes: list[classifier_head.Answer], cosine: bool) -> Head:
    head = Head(cosine)
    head.blocks["t1"] = nn.Parameter(torch.tensor(weights))
    head.classes = classes
    return head


@pytest.mark.parametrize(
    ("cosine", "expected"),
    [(False, [[6.0, 4.0], [0.0, 8.0]]), (True, [[0.6, 0.8], [0.0, 1.0]])],  # |h| = 5, 8; |w| = 2, 1
)
def test_logits_by_hand(cosine: bool, expected: list[list[float]]) -> None:
    head = head_of([[2.0, 0.0], [0.0, 1.0]], [A, B], cosine)
    features = torch.tensor([[3.0, 4.0], [0.0, 8.0]])
    assert head(features).tolist() == [pytest.approx(row) for row in expected]


def test_the_most_likely_class_answers_without_its_end_of_turn() -> None:
    head = head_of([[1.0, 0.0], [0.0, 1.0]], [A, B], cosine=True)
    head.blocks[SPARE] = nn.Parameter(torch.tensor([[1.0, 1.0]]))  # nearest to the third, but it has no answer
    assert head.answers(torch.tensor([[2.0, 1.0], [1.0, 3.0], [1.0, 1.1]])) == [[5], [6, 7], [6, 7]]


def test_logits_are_not_rounded_under_autocast() -> None:
    head = head_of([[1.0, 0.001], [1.0, 0.002]], [A, B], cosine=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert head.answers(torch.tensor([[1.0, 0.002]])) == [[6, 7]]
        assert head(torch.ones(1, 2)).dtype == torch.float32


def test_rows_of_new_classes_come_from_the_spare_ones_or_are_fresh() -> None:
    head = Head(cosine=True)
    fresh = partial(classifier_head.draw, width=4)
    head.add("t1", [A, B], fresh)
    head.add("t2", [B, C], fresh)  # B has a row already
    head.add("t3", [A], fresh)
    assert [(name, len(block)) for name, block in head.blocks.items()] == [("t1", 2), ("t2", 1)]
    assert head.classes == [A, B, C]
    room = Head(cosine=True)
    room.blocks[SPARE] = fresh(3)
    before = room.blocks[SPARE].detach().clone()
    room.add("t1", [A], fresh)
    assert [(name, len(block)) for name, block in room.blocks.items()] == [("t1", 1), (SPARE, 2)]
    room.add("t2", [B, C], fresh)
    assert [(name, len(block)) for name, block in room.blocks.items()] == [("t1", 1), ("t2", 2)]
    assert torch.equal(torch.cat(list(room.blocks.values())), before)


def dialogue(question: list[int], answer: classifier_head.Answer) -> Row:
    ids = torch.tensor([*question, *answer])
    targets = ids[1:].clone()
    targets[: len(question) - 1] = IGNORE
    return Row(ids, targets)


def test_targets_are_numbers_of_classes_and_a_strange_answer_is_an_error() -> None:
    head = head_of([[1.0], [2.0]], [A, B], cosine=False)
    batch = collate([dialogue([0, 1, 2], B), dialogue([0, 3], A)], SEPARATOR)
    assert classifier_head.answers(batch) == [B, A]
    assert head.targets(batch).tolist() == [1, 0]
    with pytest.raises(UserError, match="classifier: an answer in the data is none of its classes"):
        head.targets(collate([dialogue([0, 1], C)], SEPARATOR))


def test_features_are_where_the_first_learned_token_is_predicted() -> None:
    batch = collate([dialogue([0, 1, 2], B), dialogue([0, 3], A)], SEPARATOR)  # 3 and 2 learned tokens
    values = torch.arange(10.0).view(5, 2)
    outputs = Outputs(values, torch.zeros(3, 2), torch.zeros(5))
    assert classifier_head.features(outputs, batch).tolist() == [[0.0, 1.0], [6.0, 7.0]]
    with pytest.raises(UserError, match="classifier: this architecture changes logits"):
        classifier_head.features(outputs._replace(weight=None), batch)


@pytest.mark.parametrize("name", ["llama-tiny", "neox-tiny"])
def test_features_of_questions_are_the_model_s_last_hidden_states(name: str) -> None:
    model = tiny(name).eval()
    loss = TokenLoss(model, SEPARATOR, boundaries=True)
    questions = [torch.tensor([0, 1, 2, 3]), torch.tensor([0, 4])]
    found = classifier_head.of_questions(loss.outputs, questions, SEPARATOR, 2, "cpu")
    for row, question in enumerate(questions):
        with torch.no_grad():
            alone = model.get_decoder()(question[None]).last_hidden_state[0, -1]
        torch.testing.assert_close(found[row], alone)
    rows = collate([dialogue(question.tolist(), A) for question in questions], SEPARATOR)
    with torch.no_grad():  # as in training, where the answer is there but cannot be seen
        torch.testing.assert_close(classifier_head.features(loss.outputs(rows), rows), found)


def with_head(model: Any) -> Any:
    head = classifier_head.attach(model, cosine=True)
    head.add("t1", [A, B], partial(classifier_head.draw, width=model.config.hidden_size))
    head.blocks[SPARE] = classifier_head.draw(1, model.config.hidden_size)
    return model


def test_a_whole_model_is_stored_without_its_classifier_beside_it(tmp_path: Path) -> None:
    model = with_head(tiny())
    adapters.save(model, tmp_path / "state", tmp_path)
    assert classifier_head.of(model) is not None
    plain = pretrained.load(tmp_path / "state")  # no unexpected weights: a warning would be an error
    assert classifier_head.of(plain) is None
    head = classifier_head.of(adapters.load(tmp_path / "state", None))
    assert head is not None
    assert list(head.blocks) == ["t1", SPARE]
    assert (head.cosine, head.classes) == (True, [A, B])
    assert all(torch.equal(head.blocks[name], block) for name, block in model.cl_head.blocks.items())


def test_a_classifier_stays_when_adapters_are_added_stored_and_merged(tmp_path: Path) -> None:
    pretrained.save(tiny(), tmp_path / "base")
    model = Lora(r=4).prepare(with_head(tiny()), 1)
    assert not any("cl_head" in name for name, value in model.named_parameters() if "lora" in name)
    (tmp_path / "state").mkdir()
    adapters.save(model, tmp_path / "state", tmp_path / "base")
    assert not list((tmp_path / "state").glob("model*"))
    again = adapters.load(tmp_path / "state", tmp_path / "base")
    features = torch.randn(3, again.config.hidden_size)
    expected = model.cl_head(features)
    assert torch.equal(again.cl_head(features), expected)
    assert torch.equal(adapters.merged(again).cl_head(features), expected)
