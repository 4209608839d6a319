"""Kernels of attention: each computes what the plain model computes of each document alone.

FlashAttention has no code for a CPU; here a formula stands in for its kernel, so that what it is handed is checked.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers.modeling_flash_attention_utils as flash
from torch import Tensor

from cl.data.batches import Batch, collate
from cl.data.rows import IGNORE, Row
from cl.errors import UserError
from cl.models import adapters, attention, backbone, decoding, pretrained
from cl.models.forward import TokenLoss
from strategies.adapters.lora import Lora
from tests.models.test_families import SEPARATOR, assert_equal, documents, logits, plain
from tests.support import families

FAST = ("llama", "gemma3_text", "llama4_text", "gpt_neox")
EAGER = frozenset(("codegen", "gemma2", "gpt_neo", "gptj", "vaultgemma"))
"""Families that transformers computes without SDPA."""
FLASHLESS = frozenset(("codegen", "gpt_neo", "gptj", "llama4_text", "phimoe"))
"""Families without FlashAttention, and those that read the length of a row."""
FAMILIES = [f if f in FAST else pytest.param(f, marks=pytest.mark.slow) for f in sorted(backbone.RESTARTING)]
pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers, about sizes that only toys have


def packed_text() -> Batch:
    """Two rows of documents longer and shorter than the windows of 8 tokens."""
    texts = documents()
    return Batch(torch.stack([torch.cat([*texts, texts[1]]), torch.cat([*reversed(texts), texts[1]])]), None)


def alone(model: Any) -> Tensor:
    texts = documents()
    return torch.cat([plain(model, text) for text in (*texts, *reversed(texts))])


def dialogues() -> Batch:
    """Examples of unequal length of which the end is learned, and a row of text, padded on the right."""
    drawn = torch.Generator().manual_seed(0)
    rows = []
    for length, question in ((20, 5), (7, 3), (33, 10), (12, 11), (25, 4), (3, 2)):
        ids = torch.randint(4, families.VOCABULARY, (length + 1,), generator=drawn)
        rows.append(Row(ids, torch.where(torch.arange(length) < question - 1, IGNORE, ids[1:])))
    text = torch.randint(4, families.VOCABULARY, (41,), generator=drawn)
    text[[0, 11, 30]] = SEPARATOR
    return collate([*rows, Row(text, None)], SEPARATOR)


def learned(model: Any, batch: Batch, **settings: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, outputs and gradient of a copy of the model."""
    loss = TokenLoss(copy.deepcopy(model), SEPARATOR, **{"boundaries": True, **settings})
    outputs = loss.compute(batch)
    total = loss.total(batch)
    total.backward()
    gradients = [p.grad.flatten() for p in loss.model.parameters() if p.grad is not None]
    return total.detach(), logits(outputs).detach(), torch.cat(gradients)


def formula(
    q: Tensor, k: Tensor, v: Tensor, dropout_p: float = 0.0, softmax_scale: float | None = None, causal: bool = True,
    window_size: tuple[int, int] = (-1, -1), softcap: float = 0.0, deterministic: bool = False,
    cu_seqlens_q: Any = None, cu_seqlens_k: Any = None, max_seqlen_q: Any = None, max_seqlen_k: Any = None,
) -> Tensor:  # fmt: skip
    """What FlashAttention computes of documents in one row [T, H, D]: signature and formula of its documentation."""
    k, v = (each.repeat_interleave(q.shape[1] // k.shape[1], 1) for each in (k, v))
    found = []
    for own, keys, values in zip(*(each.split(torch.diff(cu_seqlens_q).tolist()) for each in (q, k, v)), strict=True):
        behind = torch.arange(len(own))[:, None] - torch.arange(len(own))
        seen = (behind >= 0) & ((behind <= window_size[0]) if window_size[0] >= 0 else True)
        scores = torch.einsum("qhd,khd->hqk", own, keys) * (softmax_scale or q.shape[-1] ** -0.5)
        scores = softcap * torch.tanh(scores / softcap) if softcap else scores
        weights = scores.masked_fill(~seen, float("-inf")).softmax(-1)
        found.append(torch.einsum("hqk,khd->qhd", weights, values))
    assert int(torch.diff(cu_seqlens_q).max()) == max_seqlen_q
    return torch.cat(found)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlashAttention as if it were installed, with `formula` as its kernel."""
    process = flash._lazy_define_process_function(formula)
    found = ((None, formula, None, None, None), (process, dict))
    for module in ("modeling_flash_attention_utils", "modeling_utils"):
        monkeypatch.setattr(f"transformers.{module}.lazy_import_flash_attention", lambda *_, **__: found)
    monkeypatch.setattr("transformers.PreTrainedModel._flash_attn_can_dispatch", lambda *_, **__: True)
    monkeypatch.setattr("transformers.integrations.flash_attention.get_target_dtype", lambda *_: None)  # fp32 stays
    monkeypatch.setitem(flash.FLASH_ATTENTION_COMPATIBILITY_MATRIX[2], "general_availability_check", lambda: True)


@pytest.mark.parametrize("family", FAMILIES)
def test_varlen_reads_documents_as_if_alone(family: str) -> None:
    model = families.model(family)
    expected = alone(model)
    if family in EAGER:
        with pytest.raises(UserError, match=f"attention: varlen: {family} does not compute its attention with it"):
            TokenLoss(model, SEPARATOR, True, "varlen")
        return
    with torch.no_grad():
        assert_equal(logits(TokenLoss(model, SEPARATOR, True, "varlen").compute(packed_text())), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_flash_is_handed_the_documents_of_all_rows(family: str, stand_in: None) -> None:
    model = families.model(family)
    expected = alone(model)
    if family in FLASHLESS:
        with pytest.raises(UserError, match=f"attention: flash: {family} does not compute its attention with it"):
            TokenLoss(model, SEPARATOR, True, "flash")
        return
    with torch.no_grad():
        assert_equal(logits(TokenLoss(model, SEPARATOR, True, "flash").compute(packed_text())), expected)


@pytest.mark.parametrize("family", FAST)
@pytest.mark.parametrize("kernel", [None, "varlen", "flash"])
def test_packed_examples_have_the_same_loss_outputs_and_gradient(
    family: str, kernel: attention.Kernel | None, stand_in: None
) -> None:
    model, batch = families.model(family), dialogues()
    if kernel == "flash" and family in FLASHLESS:
        pytest.skip("has no FlashAttention")
    expected = learned(model, batch)
    for width in (None, 48):
        loss, outputs, gradient = learned(model, batch, kernel=kernel, width=width)
        torch.testing.assert_close(loss, expected[0], rtol=1e-6, atol=0)
        assert_equal(outputs, expected[1])
        assert_equal(gradient, expected[2])


def test_packed_rows_are_fewer_and_equally_long(monkeypatch: pytest.MonkeyPatch) -> None:
    loss = TokenLoss(families.model("llama"), SEPARATOR, True, None, 48)
    seen: list[tuple[int, ...]] = []
    run = loss._run

    def spy(**inputs: Any) -> Tensor:
        seen.append(tuple(inputs["input_ids"].shape))
        return run(**inputs)

    monkeypatch.setattr(loss, "_run", spy)
    loss.compute(dialogues())
    with loss.unpacked():
        loss.compute(dialogues())
    loss.compute(packed_text())  # text has rows of one length already
    assert seen == [(3, 48), (7, 40), (2, 34)]
    loss.kernel = "varlen"  # computes nothing between examples
    loss.compute(dialogues())
    assert seen[3:] == [(1, 140)]


def test_varlen_masks_a_window_inside_long_documents_only() -> None:
    loss = TokenLoss(families.model("gemma3_text"), SEPARATOR, True, "varlen")
    seen: list[attention.Blocks] = []
    from transformers import AttentionMaskInterface

    def spy(*given: Any, **options: Any) -> Any:
        seen.append(attention._blocks(*given, **options))
        return seen[-1]

    AttentionMaskInterface.register(attention.NAMES["varlen"], spy)
    with torch.no_grad():
        loss.compute(packed_text())
    masks = {tuple(None if mask is None else len(mask) for mask in blocks.masks) for blocks in seen}
    assert {tuple(blocks.lengths) for blocks in seen} == {(11, 1, 13, 9, 9, 13, 1, 11)}
    assert masks == {(None,) * 8, (11, None, 13, 9, 9, 13, None, 11)}


def test_answers_and_padding_with_varlen_are_those_of_sdpa() -> None:
    model = families.model("gemma3_text")
    questions = [text[:-1] for text in documents() if len(text) > 2]
    asked = {"limit": 5, "batch": 3, "ends": [families.VOCABULARY - 1], "padding": SEPARATOR}
    expected = decoding.answers(model, questions, **asked)
    attention.use(model, "varlen")
    assert decoding.answers(model, questions, **asked) == expected


def test_a_stored_model_names_no_kernel(tmp_path: Path) -> None:
    model = families.model("llama")
    attention.use(model, "varlen")
    pretrained.save(model, tmp_path)
    assert "attn" not in json.dumps(json.loads((tmp_path / "config.json").read_text()))


def test_a_model_with_adapters_has_the_kernel(tmp_path: Path) -> None:
    pretrained.save(families.model("llama"), tmp_path)
    model = Lora(r=2).prepare(pretrained.load(tmp_path), 1).eval()
    expected = learned(model, packed_text())
    assert adapters.uses(model) == {"t1": "trained"}
    found = learned(model, packed_text(), kernel="varlen")
    assert_equal(found[1], expected[1])


@pytest.mark.parametrize(
    ("family", "kernel", "words"),
    [
        ("bloom", "varlen", "varlen: bloom reads each document as a row of its own"),
        ("gemma2", "varlen", "varlen: gemma2 does not compute its attention with it"),
        ("gptj", "flash", "flash: gptj does not compute its attention with it"),
        ("phimoe", "flash", "flash: phimoe does not compute its attention with it"),
        ("llama4_text", "flash", "flash: llama4_text does not compute its attention with it"),
        ("gpt2", "flex", "flex: gpt2 does not compute its attention with it"),
    ],
)
def test_a_kernel_that_a_family_does_not_have_is_refused(family: str, kernel: Any, words: str) -> None:
    with pytest.raises(UserError, match=rf"train\.attention: {words}.*; use auto"):
        attention.use(families.model(family), kernel)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_flex_reads_documents_as_if_alone(family: str) -> None:
    model = families.model(family).requires_grad_(False)  # on a CPU it has no backward pass
    expected = alone(model)
    with torch.no_grad():
        assert_equal(logits(TokenLoss(model, SEPARATOR, True, "flex").compute(packed_text())), expected)
