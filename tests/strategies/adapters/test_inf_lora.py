"""InfLoRA: what is protected and what A is designed by hand, and that a new task cannot move what is protected."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file
from torch import nn

from cl import cli
from cl.config import loading
from cl.data.batches import Batch
from cl.data.rows import IGNORE
from cl.errors import UserError
from cl.execution.store import Store
from cl.graph import planner
from cl.methods.method import Learned
from cl.models import adapters, pretrained
from cl.models.forward import TokenLoss
from strategies.adapters.inf_lora import InfLora
from strategies.adapters.input_subspaces import complement, unpacked
from strategies.adapters.lora import Lora
from tests.support.instruction import write_stream
from tests.support.methods import learned_of
from tests.support.training import tiny, token_rows

Memory = dict[str, torch.Tensor]
MODULE = "base_model.model.linear"


class Toy(nn.Module):
    """One linear map of 4 inputs to 3 outputs; each token id stands for a vector."""

    def __init__(self, vectors: torch.Tensor) -> None:
        super().__init__()
        self.vectors = vectors
        self.linear = nn.Linear(4, 3, bias=False)

    def forward(self, ids: torch.Tensor) -> Any:
        return self.linear(self.vectors[ids])


VECTORS = torch.tensor([[2.0, 0, 0, 0], [0, 1, 0, 0], [3, 0, 1, 0], [0, 0, 0, 2], [9, 9, 9, 9]])
OLD, NEW, PADDING = [0, 0, 0, 1], [2, 2, 2, 3], 4


def toy(model: Any, t: int, r: int = 2) -> Any:
    """The model with a fresh adapter, as `lora` with life `stack` gives it."""
    torch.manual_seed(t)
    return adapters.add(model, f"t{t}", LoraConfig(r=r, lora_alpha=r, target_modules=["linear"]))


def stage(model: Any, tokens: Sequence[int], t: int, memory: Memory) -> Learned:
    """Rows of these tokens, with padding that would be seen a mile off."""
    ids = torch.tensor([[*tokens, 0], [PADDING] * 5])
    targets = torch.full((2, 4), IGNORE)
    targets[0, -1] = 0
    return learned_of(model, [Batch(ids, targets)], t=t, memory=memory, outputs=lambda batch: model(batch.ids[:, :-1]))


def train(model: Any, tokens: Sequence[int]) -> None:
    """Some steps towards outputs of 1."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        (model(torch.tensor(tokens)) - 1).square().mean().backward()
        optimizer.step()


def first(method: InfLora, r: int = 2) -> tuple[Any, Memory]:
    """The toy after its first task, and what is remembered."""
    torch.manual_seed(0)
    model = method.prepare(toy(Toy(VECTORS), 1, r), 1)
    method.survey(stage(model, OLD, 1, {}))
    train(model, OLD)
    return model, method.consolidate(stage(model, OLD, 1, {}))


def test_the_first_a_is_designed_and_frozen() -> None:
    model, _ = first(InfLora())
    a, b, _ = adapters.low_rank(model, "t1")[MODULE]
    expected = torch.eye(4)[:2] / 3**0.5  # mean of x x^T is diag(3, 1/4, 0, 0)
    torch.testing.assert_close(a.detach().abs(), expected)
    assert [a.requires_grad, b.requires_grad] == [False, True]
    assert b.abs().sum() > 0


@pytest.mark.parametrize(
    ("form", "epsilon", "protected"),
    [
        ("paper", 0.92, 1),  # 3 of 3.25 is 0.923
        ("paper", 0.93, 2),
        ("code", 0.93, 1),  # 9 of 9.0625 is 0.993
        ("code", 0.995, 2),
        ("code", 0.0, 0),
    ],
)
def test_what_is_protected_by_hand(form: Any, epsilon: float, protected: int) -> None:
    _, memory = first(InfLora(epsilon, form=form))
    free = unpacked(memory, MODULE, torch.empty(4, 4))
    torch.testing.assert_close(free @ free.T, torch.diag(torch.tensor([0.0] * protected + [1.0] * (4 - protected))))


def test_the_threshold_rises_with_the_tasks() -> None:
    method = InfLora(0.9, rise=0.025, form="paper")
    model = method.prepare(toy(Toy(VECTORS), 2), 2)
    found = method.consolidate(stage(model, OLD, 2, {}))  # 0.925: one direction more than at t = 1
    assert list(found) == [f"free/{MODULE}"]
    assert found[f"free/{MODULE}"].shape == (4, 2)


@pytest.mark.parametrize(
    ("form", "order"),
    [
        ("paper", [3, 2]),  # what is free holds 1 and 3/4 of the mean of x x^T
        ("code", [2, 3]),  # rows of it are (9/4, 0, 3/4, 0) and (0, 0, 0, 1): what goes with an old direction counts
    ],
)
def test_a_new_task_does_not_move_what_an_old_one_sees_and_plain_lora_does(form: Any, order: list[int]) -> None:
    method = InfLora(epsilon=0.999, form=form)
    model, memory = first(method)
    before = model(torch.tensor(OLD)).detach()
    method.prepare(toy(model, 2), 2)
    method.survey(stage(model, NEW, 2, memory))
    a, b, _ = adapters.low_rank(model, "t2")[MODULE]
    torch.testing.assert_close(a.detach().abs(), torch.eye(4)[order] / 3**0.5)
    old_loss = (model(torch.tensor(NEW)) - 1).square().mean().item()
    train(model, NEW)
    assert (model(torch.tensor(NEW)) - 1).square().mean().item() < 0.5 * old_loss
    assert b.abs().sum() > 0.1
    torch.testing.assert_close(model(torch.tensor(OLD)).detach(), before, rtol=0, atol=1e-6)

    plain, _ = first(method)
    train(toy(plain, 2), NEW)
    assert (plain(torch.tensor(OLD)).detach() - before).abs().max() > 0.1


def test_memory_grows_by_what_is_new() -> None:
    method = InfLora(epsilon=0.999, form="paper")
    model, memory = first(method)
    method.prepare(toy(model, 2), 2)
    after = method.consolidate(stage(model, NEW, 2, memory))
    assert [value.shape[1] for value in memory.values()] == [2]
    assert [value.shape[1] for value in after.values()] == [0]  # everything is protected


def test_too_few_free_directions_are_told_and_old_ones_are_not_used() -> None:
    method = InfLora(epsilon=0.999)
    model, memory = first(method)
    method.prepare(toy(model, 2, r=3), 2)
    with pytest.warns(UserWarning, match="inf_lora: 1 of 1 modules have fewer free directions than r; lower epsilon"):
        method.survey(stage(model, NEW, 2, memory))
    a = adapters.low_rank(model, "t2")[MODULE][0]
    torch.testing.assert_close(a.detach().abs(), torch.diag(torch.tensor([0.0, 0.0, 1.0, 1.0]))[[2, 3, 0]] / 3**0.5)


@pytest.mark.parametrize("life", ["merge", "stack"])
def test_plain_peft_opens_a_stored_adapter_and_a_fork_trains_b_alone(life: Any, tmp_path: Path) -> None:
    base = tmp_path / "base"
    pretrained.save(tiny(), base)
    method, lora = InfLora(), Lora(life=life, r=4)
    model = method.prepare(lora.prepare(pretrained.load(base), 1), 1)
    rows = [Batch(token_rows(4), None)]
    method.survey(learned_of(model, rows, outputs=TokenLoss(model, 0, True).outputs))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.ones_like(parameter)
    (tmp_path / "state").mkdir()
    adapters.save(model, tmp_path / "state", base)

    ids = token_rows(4)[:, :-1]
    opened = adapters.load(tmp_path / "state", base)
    plain = PeftModel.from_pretrained(pretrained.load(base), str(tmp_path / "state" / "adapters" / "t1"))
    with torch.no_grad():
        expected = model.eval()(ids).logits
        for other in (opened, plain):
            torch.testing.assert_close(other.eval()(ids).logits, expected, rtol=1e-5, atol=1e-6)
    fork = method.prepare(lora.prepare(opened, 1), 1)  # not surveyed
    assert {name.split(".")[-3] for name, p in fork.named_parameters() if p.requires_grad} == {"lora_B"}
    for module, (a, _, _) in adapters.low_rank(fork, "t1").items():
        assert torch.equal(a, adapters.low_rank(model, "t1")[module][0])


def test_a_fresh_low_rank_adapter_is_needed() -> None:
    with pytest.raises(UserError, match="inf_lora: there is no fresh adapter; put lora with life merge or stack"):
        InfLora().prepare(toy(Toy(VECTORS), 1), 2)
    dora = adapters.add(Toy(VECTORS), "t1", LoraConfig(target_modules=["linear"], use_dora=True))
    with pytest.raises(UserError, match="variant: dora rescales what is protected; give lora the variant lora or"):
        InfLora().prepare(dora, 1)


def test_settings_that_protect_nothing_or_all_are_told() -> None:
    assert InfLora().active(1)
    assert not InfLora().validate([])
    assert "protect nothing" in InfLora(0.0, rise=0.0).validate([])[0]
    assert "nothing to learn" in InfLora(1.0).validate([])[0]


@pytest.mark.parametrize("settings", [{"epsilon": 1.1}, {"epsilon": -0.1}, {"rise": -0.1}])
def test_meaningless_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"must be a share from 0 to 1, rise .* at least 0"):
        InfLora(**settings)


@pytest.mark.slow
def test_what_was_designed_is_what_is_stored_after_training(tmp_path: Path) -> None:
    folder = write_stream(tmp_path)
    thin = "--strategies={inf_lora: {lora: {life: merge, r: 4}}}"  # fewer than any count of free directions of the toy
    with contextlib.chdir(folder):
        assert cli.main(["run", "toyexp.yaml", thin]) == 0
        planned = planner.build(loading.load("toyexp.yaml", [thin]))
    store, node = Store(folder / planned.experiment.store), planned.runs[0].stages[1].node
    (remembered,) = (parent for role, parent in node.parents.items() if role.kind == "memory")
    memory = load_file(store.path(remembered) / "memory.safetensors")
    factors = load_file(store.path(node) / "adapters" / "t2" / "adapter_model.safetensors")
    designed = [name for name in factors if "lora_A" in name]
    assert len(designed) == len(memory)
    for name in designed:
        a, b = factors[name], factors[name.replace("lora_A", "lora_B")]
        torch.testing.assert_close(a @ a.T, torch.eye(len(a)) / 3, rtol=0, atol=1e-5)  # neither trained nor decayed
        old = complement(unpacked(memory, name.removesuffix(".lora_A.weight"), torch.empty(a.shape[1], a.shape[1])))
        assert old.shape[1] > 0
        assert (b @ a @ old).abs().max() < 1e-5 * b.abs().max()
