"""MoELoRA, OSF and prompt tuning beside the formulas of CoIN, peft and Progressive Prompts, on a tiny model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cl.data.batches import Batch
from cl.models import adapters
from cl.models.forward import TokenLoss
from strategies.adapters.moe_lora import MoeLora
from strategies.adapters.osf import OSF
from strategies.adapters.prompts import Prompts
from tests.support.training import SEPARATOR, tiny, token_rows

BATCH = Batch(token_rows(3), None)
EXPERTS, RANK, ALPHA = 4, 8, 20.0


def adapted() -> list[Any]:
    """Modules of experts, with factors and routers away from their start."""
    torch.manual_seed(0)
    model = MoeLora(experts=EXPERTS, r=RANK, alpha=ALPHA).prepare(tiny(), 1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.3 * torch.randn(parameter.shape)
    return [module for module in model.modules() if hasattr(module, "lora_A")]


def test_a_module_of_experts_is_coin_s() -> None:
    """zackschen/CoIN@4122465 CoIN/peft/tuners/coinmoelora.py, `CoINMOELoraLinear.forward`: same, without dropout.

    A loop over experts of rank r / experts, each times alpha / r (the total rank) and its softmax gate, dense.
    """
    modules = adapted()
    assert len({tuple(module.base_layer.weight.shape) for module in modules}) > 1
    for module in modules:
        x = torch.randn(2, 5, module.in_features)
        a, b, router = module.lora_A["t1"].weight, module.lora_B["t1"].weight, module.lora_A["t1"].router.weight
        gate, official = F.softmax(F.linear(x, router), dim=-1), module.base_layer(x)
        for i, (a_i, b_i) in enumerate(zip(a.chunk(EXPERTS, 0), b.chunk(EXPERTS, 1), strict=True)):
            official = official + F.linear(F.linear(x, a_i), b_i) * (ALPHA / RANK) * gate[:, :, i].unsqueeze(-1)
        torch.testing.assert_close(module(x), official, rtol=1e-4, atol=1e-4)
        assert float((official - module.base_layer(x)).abs().max().detach()) > 0.1


def weight_slopes() -> dict[str, tuple[Tensor, Tensor]]:
    """Each linear module's weight and its gradient, of the plain model."""
    model = tiny()
    TokenLoss(model, SEPARATOR, False).total(BATCH).backward()
    named = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    named.pop("lm_head")
    return {name: (layer.weight.detach(), torch.as_tensor(layer.weight.grad)) for name, layer in named.items()}


def peft_slopes(weight: Tensor, slope: Tensor, share: float) -> dict[str, Tensor]:
    """peft's gradients of the trained factors: those of U S V, then outside of the preserved directions."""
    u, s, v = torch.linalg.svd(weight, full_matrices=False)
    k = int(min(weight.shape) * share)
    d_u, d_v = slope @ v[k:].T * s[k:], (u[:, k:] * s[k:]).T @ slope
    return {
        "U_low": d_u - u[:, :k] @ (u[:, :k].T @ d_u),
        "S_low": torch.diagonal(u[:, k:].T @ slope @ v[k:].T),
        "V_low": d_v - (d_v @ v[:k].T) @ v[:k],
    }


@pytest.mark.parametrize("share", [0.25, 0.8])
def test_gradients_are_peft_s_osf(share: float) -> None:
    """huggingface/peft@5d602fd (0.20.1.dev0) src/peft/tuners/osf/layer.py `_attach_hooks`, utils.py
    `decompose_weight_matrix`, model.py `_resolve_rank`: same projected gradients; k = int(share x min(out, in)).

    Ours runs on the installed peft (0.21), which keeps other directions instead of the preserved ones where it can.
    """
    model = OSF(preserve=share).prepare(tiny(), 1)
    TokenLoss(model, SEPARATOR, False).total(BATCH).backward()
    layers = {name: module for name, module in model.named_modules() if hasattr(module, "osf_svd_params")}
    found = {name.removeprefix("base_model.model."): layer for name, layer in layers.items()}
    slopes = weight_slopes()
    assert found.keys() == slopes.keys()
    shapes = {tuple(weight.shape) for weight, _ in slopes.values()}
    assert any(out < into for out, into in shapes)
    assert any(out > into for out, into in shapes)
    for name, (weight, slope) in slopes.items():
        trained = next(iter(found[name].osf_svd_params.values()))
        for factor, expected in peft_slopes(weight, slope, share).items():
            near = 1e-3 * float(expected.abs().max())
            torch.testing.assert_close(trained[factor].grad, expected, rtol=1e-3, atol=near)
        _, s, vh = torch.linalg.svd(weight, full_matrices=False)
        plain = (slope @ vh.T * s)[:, int(len(s) * share) :]
        assert float((trained["U_low"].grad - plain).abs().max()) > 0.1 * float(plain.abs().max())  # it is projected


def test_the_prompt_is_put_before_the_embedded_input() -> None:
    """arazd/ProgressivePrompts@01572d6 T5_codebase/t5_continual.py, `train_step_lester`, and huggingface/peft@5d602fd
    src/peft/tuners/prompt_tuning/model.py, `PromptEmbedding`: same loss; the prompt starts as embeddings of tokens.

    Theirs is an encoder-decoder, whose prompt shortens the input to its length (`seq_len`); ours shortens nothing.
    """
    torch.manual_seed(0)
    model = Prompts(tokens=5).prepare(tiny(), 1).eval()
    prompt, plain = adapters.prompt(model), tiny().eval()
    assert prompt is not None
    table = plain.get_input_embeddings().weight
    assert all(any(torch.equal(row, token) for token in table) for row in prompt)
    ids = BATCH.ids
    embeds = torch.cat([prompt.repeat(len(ids), 1, 1), plain.get_input_embeddings()(ids[:, :-1])], dim=1)
    logits = plain(inputs_embeds=embeds, use_cache=False).logits[:, 5:]
    official = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")
    found = TokenLoss(model, SEPARATOR, False).total(BATCH)
    torch.testing.assert_close(found, official, rtol=1e-5, atol=1e-4)
    without = F.cross_entropy(plain(ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")
    assert abs(float(without.detach()) - float(official.detach())) > 1e-2
