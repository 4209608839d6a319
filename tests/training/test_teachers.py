"""Teachers: those that must agree do, and adapter_off only where it is the one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig

from cl.data.batches import Batch
from cl.errors import UserError
from cl.methods.method import Teaching
from cl.models import adapters
from cl.models.distillation import Dense
from cl.models.forward import TokenLoss
from cl.training.teachers import Setting, check_adapter_off, opening
from tests.support.teaching import with_mode
from tests.support.training import run, tiny, token_rows


def final(results: dict[str, Any], label: str) -> dict[str, float]:
    (found,) = (run for run in results["runs"] if run["strategy"] == label)
    last = max(found["matrix"], key=int)
    return {name: cell["nll"] / cell["tokens"] for name, cell in found["matrix"][last].items()}


@pytest.mark.slow
def test_a_copy_and_the_cache_of_hidden_states_teach_the_same(tmp_path: Path) -> None:
    modes = ("frozen_copy", "cache_hidden", "cache_sampled", "cache_top_k")
    found = run(with_mode(tmp_path, *modes, count=300))
    copied = final(found, "frozen_copy")
    assert final(found, "cache_hidden") == pytest.approx(copied, rel=2e-3)  # hidden states in fp16
    assert final(found, "cache_top_k") == pytest.approx(copied, rel=2e-3)  # all ids of the vocabulary
    assert final(found, "cache_sampled") == pytest.approx(copied, rel=0.05)


@pytest.mark.slow
def test_the_model_without_its_adapter_is_the_copy(tmp_path: Path) -> None:
    found = run(with_mode(tmp_path, "frozen_copy", "adapter_off", methods=("lora",)))
    assert final(found, "adapter_off") == pytest.approx(final(found, "frozen_copy"), rel=1e-5)


def adapted(uses: dict[str, str] | None = None, **config: Any) -> Any:
    model = adapters.add(tiny(), "t1", LoraConfig(target_modules=["q_proj"], init_lora_weights=False, **config))
    model.cl_adapters = uses or {"t1": "trained"}
    return model


def test_the_base_model_is_what_is_left_without_the_adapter() -> None:
    base = tiny()
    model = adapters.add(copy.deepcopy(base), "t1", LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    batch, loss = Batch(token_rows(2), None), TokenLoss(model, 0, boundaries=True)
    says = opening(Teaching("base", "adapter_off"), 0, {}, loss, Setting(1, "cpu", "fp32", []))
    with torch.no_grad():
        wanted = TokenLoss(base, 0, boundaries=True).outputs(batch).logits().log_softmax(-1)
        learner = loss.outputs(batch).logits().log_softmax(-1)
    found = says(batch).says(slice(None), 1.0)
    assert isinstance(found, Dense)
    torch.testing.assert_close(found.log_p, wanted)
    assert (learner - wanted).abs().max() > 0.01  # and it is back afterwards


@pytest.mark.parametrize(
    ("model", "of", "t", "why"),
    [
        (tiny, "base", 1, "no low-rank adapters"),
        (lambda: adapted(bias="lora_only"), "base", 1, "train biases"),
        (lambda: adapted({"t0": "merged", "t1": "trained"}), "base", 2, "merged into the weights"),
        (adapted, "previous", 2, "earlier tasks are in its adapters"),
    ],
)
def test_adapter_off_is_refused_where_it_is_another_model(model: Any, of: Any, t: int, why: str) -> None:
    with pytest.raises(UserError, match=why):
        check_adapter_off(model(), Teaching(of, "adapter_off"), t)


def test_adapter_off_is_refused_where_weights_are_trained_beside_it() -> None:
    model = adapted()
    model.get_output_embeddings().weight.requires_grad_(True)
    with pytest.raises(UserError, match="weights outside the adapters"):
        check_adapter_off(model, Teaching("base", "adapter_off"), 1)


def test_adapter_off_is_the_previous_model_where_that_was_merged() -> None:
    merged = adapters.merged(adapted())
    fresh = adapters.add(merged, "t2", LoraConfig(target_modules=["q_proj"]))
    check_adapter_off(fresh, Teaching("previous", "adapter_off"), 2)


def test_what_was_frozen_stays_frozen_when_adapters_come_back() -> None:
    model = adapters.add(adapted(), "t2", LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    assert not all(before.values())
    assert any(before.values())
    loss = TokenLoss(model, 0, boundaries=True)
    says = opening(Teaching("base", "adapter_off"), 0, {}, loss, Setting(2, "cpu", "fp32", []))
    says(Batch(token_rows(2), None))
    assert {name: p.requires_grad for name, p in model.named_parameters()} == before
