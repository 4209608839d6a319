"""Adapters: plain peft opens what is stored, lives differ as they say, and merging changes no logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cl.errors import UserError
from cl.models import adapters, pretrained
from strategies.adapters.lora import Lora
from strategies.adapters.prompts import Prompts
from tests.support.training import tiny, token_rows

IDS = token_rows(4)[:, :-1]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(IDS).logits
    return found


def nudge(model: Any, by: float = 0.05) -> None:
    """Stand in for training: move whatever requires a gradient."""
    chance = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += by * torch.randn(parameter.shape, generator=chance)


def learned(life: Any, base: Path, folder: Path, tasks: int = 2, **settings: Any) -> Path:
    """Folder of the state after some tasks, each stored and opened again as train nodes do."""
    state = base
    for t in range(1, tasks + 1):
        torch.manual_seed(t)  # the same fresh adapter in every life
        model = Lora(life=life, r=4, **settings).prepare(adapters.load(state, base), t)
        nudge(model)
        new = folder / f"state{t}"
        new.mkdir(parents=True)
        adapters.save(model, new, state)
        state = new
    return state


@pytest.fixture
def base(tmp_path: Path) -> Path:
    pretrained.save(tiny(), tmp_path / "base")
    return tmp_path / "base"


def test_a_fresh_adapter_changes_nothing_and_alone_learns(base: Path) -> None:
    model = Lora(r=4).prepare(pretrained.load(base), 1)
    assert torch.equal(logits(model), logits(pretrained.load(base)))
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all(".t1." in name for name in trained)
    assert not any("lm_head" in name or "embed" in name for name in trained)


def test_what_is_stored_has_no_order_of_a_set(base: Path, tmp_path: Path) -> None:
    state = learned("continue", base, tmp_path, tasks=1)
    stored = json.loads((state / "adapters" / "t1" / "adapter_config.json").read_text())
    assert len(stored["target_modules"]) > 3
    assert stored["target_modules"] == sorted(stored["target_modules"])


@pytest.mark.parametrize(
    ("life", "uses"),
    [
        ("continue", {"t1": "trained"}),
        ("stack", {"t1": "frozen", "t2": "frozen", "t3": "trained"}),
        ("merge", {"t1": "merged", "t2": "merged", "t3": "trained"}),
        ("alone", {"t1": "kept", "t2": "kept", "t3": "trained"}),
    ],
)
def test_lives(life: Any, uses: dict[str, str], base: Path, tmp_path: Path) -> None:
    state = learned(life, base, tmp_path, tasks=3)
    model = adapters.load(state, base)
    assert adapters.uses(model) == uses
    last = list(uses)[-1]
    assert {name.split(".")[-2] for name, p in model.named_parameters() if p.requires_grad} == {last}
    assert sorted(path.name for path in (state / "adapters").iterdir()) == sorted(uses)
    assert not list(state.glob("*.safetensors"))  # no other weights


@pytest.mark.parametrize("life", ["continue", "stack", "merge", "alone"])
def test_what_is_opened_is_what_was_stored(life: Any, base: Path, tmp_path: Path) -> None:
    state = learned(life, base, tmp_path)
    model = Lora(life=life, r=4).prepare(adapters.load(state, base), 3)
    nudge(model)
    expected = logits(model)
    adapters.save(model, tmp_path / "again", state)
    torch.testing.assert_close(logits(adapters.load(tmp_path / "again", base)), expected, rtol=1e-5, atol=1e-6)


def test_stacked_and_merged_adapters_are_the_same_sum(base: Path, tmp_path: Path) -> None:
    stacked = adapters.load(learned("stack", base, tmp_path / "stack"), base)
    merged = adapters.load(learned("merge", base, tmp_path / "merge"), base)
    torch.testing.assert_close(logits(stacked), logits(merged), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(logits(stacked), logits(pretrained.load(base)), atol=1e-3)


@pytest.mark.parametrize("life", ["continue", "stack", "merge", "alone"])
def test_merging_changes_no_logits(life: Any, base: Path, tmp_path: Path) -> None:
    model = adapters.load(learned(life, base, tmp_path), base)
    expected = logits(model)
    torch.testing.assert_close(logits(adapters.merged(model)), expected, rtol=1e-4, atol=1e-5)


def test_what_is_learned_alone_knows_nothing_of_the_others(base: Path, tmp_path: Path) -> None:
    state, found = base, {}
    for t in (1, 2, 3):
        model = adapters.load(state, base)
        torch.manual_seed(t)
        model = Lora(life="alone", r=4).prepare(model, t)
        torch.manual_seed(t)
        other = Lora(r=4).prepare(pretrained.load(base), t)
        nudge(model)
        nudge(other)
        found[f"t{t}"] = logits(model)
        assert torch.equal(logits(other), found[f"t{t}"])
        new = tmp_path / f"state{t}"
        adapters.save(model, new, state)
        state = new
    for name, expected in found.items():
        assert torch.equal(logits(adapters.alone(state, base, name)), expected)
    assert torch.equal(logits(adapters.alone(state, base, None)), logits(pretrained.load(base)))
    assert torch.equal(logits(adapters.load(state, base)), found["t3"])
    assert adapters.uses(adapters.merged(adapters.load(state, base))) == {"t1": "kept", "t2": "kept", "t3": "merged"}


def test_prompts_live_alone_and_cannot_be_merged(base: Path, tmp_path: Path) -> None:
    state, prompts = base, {}
    for t in (1, 2):
        model = Prompts(tokens=3).prepare(adapters.load(state, base), t)
        assert [name for name, p in model.named_parameters() if p.requires_grad] == [
            f"prompt_encoder.t{t}.embedding.weight"
        ]
        nudge(model)
        new = tmp_path / f"state{t}"
        adapters.save(model, new, state)
        state, prompts[f"t{t}"] = new, adapters.prompt(model)
    assert adapters.uses(adapters.load(state, base)) == {"t1": "kept", "t2": "trained"}
    for name, expected in prompts.items():
        found = adapters.prompt(adapters.alone(state, base, name))
        assert found is not None
        assert torch.equal(found, expected)
    assert adapters.prompt(adapters.alone(state, base, None)) is None
    with pytest.raises(UserError, match="neither a prompt nor experts can be merged into weights"):
        adapters.merged(adapters.load(state, base))
    assert torch.equal(logits(adapters.bare(adapters.load(state, base))), logits(pretrained.load(base)))


@pytest.mark.parametrize("variant", ["lora", "rslora", "dora"])
def test_plain_peft_opens_a_stored_adapter(variant: Any, base: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    state = learned("continue", base, tmp_path, variant=variant)
    plain = PeftModel.from_pretrained(pretrained.load(base), str(state / "adapters" / "t1"))
    torch.testing.assert_close(logits(plain), logits(adapters.load(state, base)), rtol=1e-5, atol=1e-6)


def test_the_factors_are_the_update(base: Path, tmp_path: Path) -> None:
    model = adapters.load(learned("continue", base, tmp_path, tasks=1), base)
    factors = adapters.low_rank(model, "t1")
    weights = dict(pretrained.load(base).named_parameters())
    after = dict(adapters.merged(model).named_parameters())
    for path, (a, b, scale) in factors.items():
        name = path.removeprefix("base_model.model.") + ".weight"
        torch.testing.assert_close(after[name] - weights[name], scale * b @ a, rtol=1e-4, atol=1e-6)


def test_a_full_model_is_stored_whole(tmp_path: Path) -> None:
    adapters.save(tiny(), tmp_path / "full", tmp_path)
    assert torch.equal(logits(adapters.load(tmp_path / "full", None)), logits(tiny()))


@pytest.mark.parametrize("name", ["llama-tiny", "neox-tiny"])
def test_any_architecture(name: str) -> None:
    model = Lora(r=2).prepare(tiny(name), 1)
    assert adapters.low_rank(model, "t1")


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("life", ["continue", "merge", "alone"])
def test_trained_embeddings_are_stored_and_merged_with_the_adapter(life: str, tied: bool, tmp_path: Path) -> None:
    plain = tiny()
    if tied:
        plain.config.tie_word_embeddings = True
        plain.tie_weights()
    pretrained.save(plain, tmp_path / "base")
    state = learned(life, tmp_path / "base", tmp_path, embeddings=True)
    model = adapters.load(state, tmp_path / "base")
    trained = {name.split(".")[-4] for name, p in model.named_parameters() if p.requires_grad and "lora" not in name}
    assert trained == ({"embed_tokens"} if tied else {"embed_tokens", "lm_head"})
    before = logits(model)
    whole = adapters.merged(model)
    torch.testing.assert_close(logits(whole), before, rtol=1e-4, atol=1e-4)
    ends = [layer.weight for layer in (whole.get_input_embeddings(), whole.get_output_embeddings())]
    assert (ends[0].data_ptr() == ends[1].data_ptr()) == tied
    assert not torch.equal(ends[0], pretrained.load(tmp_path / "base").get_input_embeddings().weight)


def test_summed_adapters_have_no_embeddings_of_their_own() -> None:
    with pytest.raises(UserError, match="embeddings: adapters of life stack are summed"):
        Lora(life="stack", embeddings=True)
