"""MoELoRA: the sum of experts that the paper writes, what is stored, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cl.config.train import Train
from cl.data.batches import Batch
from cl.errors import UserError
from cl.models import adapters, pretrained
from cl.models.lora_experts import Experts
from cl.training.learner import Learner
from strategies.adapters.lora import Lora
from strategies.adapters.moe_lora import MoeLora
from tests.support.training import SEPARATOR, tiny, token_rows

IDS = token_rows(4)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(IDS[:, :-1]).logits
    return found


def routed(nudged: float = 0.0, **settings: Any) -> Any:
    torch.manual_seed(0)
    model = MoeLora(**{"experts": 4, "r": 8, **settings}).prepare(tiny(), 1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += nudged * torch.randn(parameter.shape)
    return model


def test_a_module_is_the_sum_that_the_paper_writes() -> None:
    model = routed(0.1)
    layer = next(module for module in model.modules() if hasattr(module, "lora_A"))
    a, b, router = (part["t1"] for part in (layer.lora_A, layer.lora_B, {"t1": layer.lora_A["t1"].router}))
    x = torch.randn(2, 3, layer.in_features)
    expected = layer.base_layer(x)
    weights = (x @ router.weight.T).softmax(-1)
    for expert in range(4):
        rows = slice(2 * expert, 2 * expert + 2)
        expected = expected + 32.0 / 8 * weights[..., expert, None] * (x @ a.weight[rows].T @ b.weight[:, rows].T)
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)
    assert (layer(x) - layer.base_layer(x)).abs().max() > 0.01


def test_a_fresh_one_changes_nothing_and_adds_a_router_for_each_module() -> None:
    model, plain = routed(), Lora(r=8).prepare(tiny(), 1)
    assert torch.equal(logits(model), logits(tiny()))
    counts = [sum(p.numel() for p in found.parameters() if p.requires_grad) for found in (model, plain)]
    widths = [module.router.in_features for module in model.modules() if isinstance(module, Experts)]
    assert counts[0] - counts[1] == 4 * sum(widths)


def test_it_is_stored_with_its_routers_and_goes_on(tmp_path: Path) -> None:
    from peft import PeftModel

    pretrained.save(tiny(), tmp_path / "base")
    model = routed(0.1, dropout=0.1)
    adapters.save(model, tmp_path / "state", tmp_path / "base")
    opened = adapters.load(tmp_path / "state", tmp_path / "base")
    assert torch.equal(logits(opened), logits(model))
    trained = [{name for name, p in found.named_parameters() if p.requires_grad} for found in (model, opened)]
    assert trained[0] == trained[1]
    assert any("router" in name for name in trained[0])
    assert any(isinstance(m, Experts) and isinstance(m.dropout, torch.nn.Dropout) for m in opened.modules())
    assert MoeLora(experts=4, r=8).prepare(opened, 2) is opened
    assert adapters.uses(opened) == {"t1": "trained"}
    plain = PeftModel.from_pretrained(pretrained.load(tmp_path / "base"), str(tmp_path / "state" / "adapters" / "t1"))
    assert not torch.allclose(logits(plain), logits(model), atol=1e-3)  # it has no routers


def test_what_would_need_one_update_for_all_tokens_is_refused() -> None:
    model = routed()
    assert not adapters.mergeable(model)
    assert adapters.low_rank(model, "t1") == {}
    with pytest.raises(UserError, match="neither a prompt nor experts can be merged into weights"):
        adapters.merged(model)


def trained(method: Lora) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Trained parameters and losses after some steps of an ordinary learner."""
    torch.manual_seed(3)
    model = method.prepare(tiny(), 1).train()
    learner = Learner(model, Train(batch=4, lr=1e-2), [method], separator=SEPARATOR, total=3)
    optimizer, losses = learner.configure_optimizers(), []
    learner.manual_backward = torch.Tensor.backward  # type: ignore[method-assign]
    for _ in range(3):
        optimizer.zero_grad()
        loss, _ = learner._accumulate(Batch(IDS, None))
        optimizer.step()
        losses.append(float(loss))
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}, losses


def test_one_expert_is_lora_bit_for_bit() -> None:
    assert MoeLora(experts=1).validate([]) == ["experts 1 is equivalent to lora with life continue"]
    assert not MoeLora().validate([])
    (moe, losses), (plain, expected) = trained(MoeLora(experts=1)), trained(Lora())
    assert losses == expected
    assert moe.keys() == plain.keys()
    assert all(torch.equal(value, plain[name]) for name, value in moe.items())


def test_experts_and_routers_learn() -> None:
    torch.manual_seed(3)
    start = dict(MoeLora().prepare(tiny(), 1).named_parameters())
    after, losses = trained(MoeLora())
    assert losses[-1] < losses[0]
    routers = [name for name in after if "router" in name]
    assert routers
    assert all(not torch.equal(after[name], start[name]) for name in routers)


@pytest.mark.parametrize("experts", [0, 3, 32])
def test_experts_must_divide_the_rank(experts: int) -> None:
    with pytest.raises(UserError, match=f"experts: {experts} must be at least 1 and divide the total rank r 16"):
        MoeLora(experts=experts)
