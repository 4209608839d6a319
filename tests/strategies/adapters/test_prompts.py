"""Prompt tuning: the loss is peft's, documents do not see one another, and nothing but the prompt learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from cl.config.train import Train
from cl.data.batches import Batch, collate
from cl.data.rows import IGNORE, Row
from cl.errors import UserError
from cl.models import adapters, pretrained
from cl.models.forward import TokenLoss
from cl.training.learner import Learner
from cl.training.optimizer import build_optimizer
from strategies.adapters.prompts import Prompts
from tests.support.training import SEPARATOR, tiny, token_rows

IDS = token_rows(2, 12)
TOKENS = 3


def prompted(name: str = "llama-tiny", **settings: Any) -> Any:
    torch.manual_seed(0)
    return Prompts(tokens=TOKENS, **settings).prepare(tiny(name), 1).eval()


def dialogues() -> tuple[list[Row], Batch]:
    """Two examples of unequal length, and both in one batch."""
    rows = []
    for ids in (IDS[0], IDS[1, :7]):
        targets = ids[1:].clone()
        targets[:4] = IGNORE
        rows.append(Row(ids, targets))
    return rows, collate(rows, SEPARATOR)


@pytest.mark.parametrize("name", ["llama-tiny", "neox-tiny"])
@pytest.mark.parametrize("boundaries", [True, False])
def test_the_loss_of_padded_dialogues_is_that_of_plain_peft(name: str, boundaries: bool, tmp_path: Path) -> None:
    from peft import PeftModel

    model, base = prompted(name), tmp_path / "base"
    pretrained.save(tiny(name), base)
    adapters.save(model, tmp_path / "state", base)
    plain = PeftModel.from_pretrained(pretrained.load(base), str(tmp_path / "state" / "adapters" / "t1")).eval()
    rows, batch = dialogues()
    with torch.no_grad():
        found = TokenLoss(model, SEPARATOR, boundaries).total(batch)
        each = [
            F.cross_entropy(plain(input_ids=row.ids[None, :-1]).logits[0, TOKENS:], row.targets, reduction="sum")
            for row in rows
        ]
    torch.testing.assert_close(found, torch.stack(each).sum(), rtol=1e-5, atol=1e-5)


def test_each_document_of_packed_text_is_read_as_if_alone_behind_the_prompt() -> None:
    model = prompted()
    loss = TokenLoss(model, SEPARATOR, boundaries=True)
    first, second = torch.tensor([SEPARATOR, 5, 6, 7]), torch.tensor([SEPARATOR, 8, 9, 11, SEPARATOR])
    with torch.no_grad():
        whole = loss.total(Batch(torch.cat([first, second])[None], None))
        parts = [loss.total(Batch(ids[None], None)) for ids in (torch.cat([first, second[:1]]), second)]
    torch.testing.assert_close(whole, torch.stack(parts).sum(), rtol=1e-5, atol=1e-5)


def test_it_starts_as_embeddings_of_the_vocabulary_and_alone_learns() -> None:
    model = prompted(rate=7.0)
    prompt, embeddings = adapters.prompt(model), model.get_input_embeddings().weight
    assert prompt is not None
    assert all((row == embeddings).all(1).any() for row in prompt)
    (group,) = [group for group in build_optimizer(model, Train()).param_groups if group["params"]]
    assert (group["lr_factor"], [tuple(p.shape) for p in group["params"]]) == (7.0, [tuple(prompt.shape)])


def test_it_learns_through_the_frozen_model() -> None:
    model = prompted()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    loss, (_, batch) = TokenLoss(model, SEPARATOR, boundaries=True), dialogues()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.3)
    values = []
    for _ in range(30):
        optimizer.zero_grad()
        value = loss.total(batch)
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    assert values[-1] < values[0] - 0.3  # a fresh model listens little to a prompt
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"prompt_encoder.t1.embedding.weight"}


def test_a_trunk_s_prompt_goes_on_in_its_fork() -> None:
    model = prompted()
    assert Prompts(tokens=TOKENS).prepare(model, 1) is model


def test_a_prompt_and_a_row_that_exceed_the_context_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"train\.sequence: 510 and a prompt of 3 tokens exceed the model's context of 512"
    ):
        Learner(prompted(), Train(sequence=510), separator=SEPARATOR, total=1)


@pytest.mark.parametrize("settings", [{"tokens": 0}, {"rate": 0.0}])
def test_meaningless_settings_are_refused(settings: Any) -> None:
    with pytest.raises(UserError, match=r"tokens \d+ must be at least 1, rate .* above 0"):
        Prompts(**settings)
