"""O-LoRA, N-LoRA and RegLoRA beside the loops of their authors' code, on the adapters of a tiny model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cl.models import adapters
from strategies.adapters.lora import Lora
from strategies.adapters.n_lora import NLora
from strategies.adapters.o_lora import OLora
from strategies.adapters.reglora import RegLora
from tests.support.methods import learned_of, step_of
from tests.support.training import tiny

RANK = 4
Factors = dict[str, tuple[Tensor, Tensor]]


def stacked(tasks: int, life: Any = "stack") -> Any:
    """A tiny model after some tasks, each with an adapter of random factors."""
    model, lora = tiny(), Lora(life, r=RANK, alpha=8.0)
    for t in range(1, tasks + 1):
        torch.manual_seed(t)
        model = lora.prepare(model, t)
        randomise(model, t)
    return model


def randomise(model: Any, t: int) -> None:
    chance = torch.Generator().manual_seed(100 + t)
    for a, b, _ in adapters.low_rank(model, f"t{t}").values():
        for factor in (a, b):
            factor.data = 0.1 * torch.randn(factor.shape, generator=chance)


def factors(model: Any, name: str) -> Factors:
    """A and B of an adapter by module, read from the names of parameters, as the authors do."""
    named = {key: value for key, value in model.named_parameters() if f".{name}." in key}
    bases = sorted({key.split(".lora_")[0] for key in named})
    return {base: (named[f"{base}.lora_A.{name}.weight"], named[f"{base}.lora_B.{name}.weight"]) for base in bases}


def test_overlap_and_norms_are_o_lora_s() -> None:
    """cmnfriend/O-LoRA@07117e1 src/uie_trainer_lora.py, `training_step`: same sums, lamda_1 and lamda_2 with factor 1.

    Its `lora_A` holds the rows of all earlier tasks, `loranew_A` and `loranew_B` are the new task's. With gradient
    accumulation it adds the terms once per micro-batch, undivided; its scripts accumulate 1.
    """
    model = stacked(3)
    method = OLora(orthogonality=0.5, decay=0.1)
    method.prepare(model, 3)
    terms = method.step_terms(step_of(model))
    old = [factors(model, name) for name in ("t1", "t2")]
    orthogonal, norms = torch.zeros(()), torch.zeros(())
    for base, (a, b) in factors(model, "t3").items():
        earlier = torch.cat([each[base][0] for each in old])
        orthogonal = orthogonal + torch.mm(earlier, a.T).abs().sum()
        norms = norms + torch.norm(a, p=2) + torch.norm(b, p=2)
    torch.testing.assert_close(terms["o_lora/orthogonality"], 0.5 * orthogonal, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(terms["o_lora/decay"], 0.1 * norms)
    wanted = [a for a, _ in factors(model, "t3").values()]
    ours, theirs = (torch.autograd.grad(v, wanted) for v in (terms["o_lora/orthogonality"], 0.5 * orthogonal))
    torch.testing.assert_close(ours, theirs)


def test_the_code_form_is_n_lora_s_and_exists_for_square_modules_only() -> None:
    """PKU-YuanGroup/N-LoRA@7301afe src/uie_trainer_lora.py, `training_step`: `form: code` is the same, factor 1.

    It multiplies A [r, in] by B [out, r], which only square modules allow: elsewhere it fails, and ours leaves the
    module out. `form: paper`, our default, is ||B A||_1 and has no fixed factor to it.
    """
    model = stacked(2)
    total, failed = torch.zeros(()), 0
    for a, b in factors(model, "t2").values():
        if a.shape[1] == b.shape[0]:
            total = total + torch.mm(a, b).abs().sum()
            continue
        failed += 1
        with pytest.raises(RuntimeError, match="cannot be multiplied"):
            torch.mm(a, b)
    assert failed
    found = {}
    for form in ("code", "paper"):
        method = NLora(weight=0.4, form=form)
        method.prepare(model, 2)
        found[form] = method.step_terms(step_of(model))["n_lora"]
    torch.testing.assert_close(found["code"], 0.4 * total)
    dense = torch.stack([(b @ a).abs().sum() for a, b in factors(model, "t2").values()]).sum()
    torch.testing.assert_close(found["paper"], 0.4 * dense)
    assert float(found["paper"].detach()) > 2 * float(found["code"].detach())


def key_elements(model: Any, name: str, share: float) -> dict[str, Tensor]:
    """Places [k, 2] of the largest entries of |B A| by module, as the authors list them."""
    found = {}
    for base, (a, b) in factors(model, name).items():
        size = (b @ a).detach().abs()
        flat = size.flatten().sort(descending=True).indices[: int(share * size.numel())]
        found[base] = torch.stack([flat // size.shape[1], flat % size.shape[1]], 1)
    return found


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_the_penalty_on_key_elements_is_sefe_s(share: float) -> None:
    """jinpeng0528/SEFE@2f61efe key_elements_identification.py, llava/model/language_model/modeling_llama.py
    (`LlamaDecoderLayer.forward`; / 224 modules) and llava_llama.py (x 2.5e3): same, with multiplicity `counts`.

    Places of all earlier tasks are one list, in which a place can occur more than once; dW = B A without alpha / r.
    The share is fixed at 0.02 there, and the products are ranked in the adapter's own precision.
    """
    method, memory, listed, model, lora = RegLora(keep=share), {}, {}, tiny(), Lora("merge", r=RANK, alpha=8.0)
    for t in (1, 2):
        model = lora.prepare(model, t)
        randomise(model, t)
        memory = method.consolidate(learned_of(model, t=t, memory=memory))
        fresh = key_elements(model, f"t{t}", share)
        listed = {base: torch.cat([at, listed[base]]) if listed else at for base, at in fresh.items()}
    model = lora.prepare(model, 3)
    randomise(model, 3)
    method = RegLora(keep=share)
    method.remember(memory)
    method.prepare(model, 3)
    found = method.step_terms(step_of(model))["reglora"]
    new = factors(model, "t3")
    parts = [(b @ a)[listed[base][:, 0], listed[base][:, 1]].abs().mean() for base, (a, b) in new.items()]
    official = 2.5e3 * torch.stack(parts).sum() / len(parts)
    torch.testing.assert_close(found, official)
    wanted = [factor for pair in new.values() for factor in pair]
    torch.testing.assert_close(torch.autograd.grad(found, wanted), torch.autograd.grad(official, wanted))
    twice = sum(len(at) - len(at.unique(dim=0)) for at in listed.values())
    assert twice or share == 0.02
