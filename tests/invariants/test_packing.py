"""Examples in packed rows are examples in rows of their own: the same steps, up to rounding."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from cl.config.train import Train
from cl.data.batches import Batch, collate
from cl.data.rows import IGNORE, Row
from cl.errors import UserError
from cl.models.attention import Kernel
from cl.models.forward import TokenLoss
from cl.models.losses import row_nll
from cl.training.learner import Learner
from tests.support import families
from tests.support.instruction import write_stream
from tests.support.learner import assert_close_without_drift, learner
from tests.support.training import SEPARATOR, VOCABULARY, keys, learn, tiny

# of methods, about a toy
pytestmark = [pytest.mark.filterwarnings(f"ignore:{name}") for name in ("reglora", "inf_lora")]


def examples(seed: int = 0) -> Batch:
    drawn = torch.Generator().manual_seed(seed)
    rows = []
    for length, question in ((20, 5), (7, 3), (31, 10), (12, 11), (25, 4), (3, 2), (9, 1), (14, 6)):
        ids = torch.randint(1, VOCABULARY, (length + 1,), generator=drawn)
        rows.append(Row(ids, torch.where(torch.arange(length) < question, IGNORE, ids[1:])))
    return collate(rows, SEPARATOR)


@pytest.mark.parametrize("micro_batch", [None, 4])
def test_a_packed_step_has_the_loss_and_the_gradient_of_one_example_a_row(micro_batch: int | None) -> None:
    found = []
    for packing in (False, True):
        module = learner(packing=packing, sequence=32, micro_batch=micro_batch)
        module.manual_backward = torch.Tensor.backward  # type: ignore[method-assign]
        loss, _ = module._accumulate(examples())
        assert loss is not None
        gradient = torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])
        found.append((loss, gradient))
    (loss, gradient), (packed_loss, packed_gradient) = found
    torch.testing.assert_close(packed_loss, loss, rtol=1e-6, atol=0)
    assert_close_without_drift(packed_gradient, gradient, 1e-6)


def test_losses_of_examples_come_in_their_order() -> None:
    batch = examples()
    plain, packed = (TokenLoss(tiny().eval(), SEPARATOR, True, width=width) for width in (None, 32))
    learned = batch.learned_by_row()
    with torch.no_grad():
        expected = row_nll(plain.outputs(batch), learned)
        torch.testing.assert_close(row_nll(packed.outputs(batch), learned), expected, rtol=1e-5, atol=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch while it compiles: its own imports, gradients of graph breaks
@pytest.mark.parametrize("attention", [None, "varlen"])
def test_compiled_packed_steps_have_the_same_losses(attention: Kernel | None) -> None:
    train = Train(batch=8, sequence=32, packing=True)
    eager = TokenLoss(tiny(), SEPARATOR, True)
    module = Learner(tiny(), train, separator=SEPARATOR, total=1, compiled=True, attention=attention)
    for seed in range(3):
        batch = examples(seed).at(slice(seed, None))  # another number of rows each time
        found = module._loss(batch)
        found.backward()
        torch.testing.assert_close(found, eager.total(batch), rtol=1e-5, atol=0)


def test_a_family_that_reads_documents_one_by_one_is_refused() -> None:
    with pytest.raises(UserError, match=r"train\.packing: bloom reads each document as a row of its own"):
        Learner(families.model("bloom"), Train(packing=True), separator=SEPARATOR, total=1)


def test_packing_is_in_the_key_and_its_absence_is_not(tmp_path: Path) -> None:
    write_stream(tmp_path)
    plain, written, packed = (
        keys(tmp_path, *given) for given in ([], ["--train.packing=false"], ["--train.packing=true"])
    )
    assert plain == written
    assert not set(plain[0]) & set(packed[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "label",
    ["lora_sequential", "lora_replay", "lora_lwf", "lora_der", "lora_agem", "seq_star", "inf_lora", "moe_lora", "osf"],
)
def test_strategies_take_the_same_steps_on_packed_examples(label: str, tmp_path: Path) -> None:
    losses = []
    for packing in (False, True):
        folder = tmp_path / str(packing)
        folder.mkdir()
        write_stream(folder, train={"packing": packing, "compile": False}, strategies={label: None})
        stored = [json.loads((state / "node.json").read_text()) for state in learn(folder)]
        points = [point for node in stored for point in node["result"]["points"]]
        losses.append([point["loss"] for point in points if point["loss"] is not None])
    plain, packed = losses
    assert len(plain) >= 2
    assert packed == pytest.approx(plain, rel=2e-4)
