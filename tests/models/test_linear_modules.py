"""Targets of adapters: what they choose, and mistakes told in one line with the names that exist."""

from __future__ import annotations

import pytest

from cl.errors import UserError
from cl.models import linear_modules
from strategies.adapters.lora import Lora
from tests.support import families
from tests.support.training import tiny

LAYERS = [f"model.layers.{i}.{name}" for i in (0, 1) for name in ("self_attn.k_proj", "self_attn.v_proj")]


@pytest.mark.parametrize("targets", [["k_proj", "v_proj"], r".*self_attn\.[kv]_proj"])
def test_names_and_expressions_choose_as_in_peft(targets: str | list[str]) -> None:
    model = tiny()
    assert linear_modules.names(model, targets) == LAYERS
    adapted = Lora(targets=targets).prepare(model, 1)
    assert linear_modules.names(adapted, targets) == LAYERS  # the same below an adapter


def test_the_default_leaves_the_output_layer_and_routers_alone() -> None:
    assert len(linear_modules.names(tiny(), "all-linear")) == 2 * 7
    assert "lm_head" not in linear_modules.names(tiny(), "all-linear")
    assert linear_modules.names(tiny(), ["lm_head"]) == ["lm_head"]  # where it is asked for
    routed = linear_modules.names(families.model("phimoe"), "all-linear")
    assert all("router" not in name and not name.endswith("gate") for name in routed)
    assert not any(name.endswith("out_proj") for name in linear_modules.names(families.model("mamba"), "all-linear"))
    assert linear_modules.names(families.model("gpt2"), "all-linear")  # Conv1D


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (["q_porj"], "no module is called 'q_porj'; linear modules are q_proj, k_proj"),
        (["q_proj", "nothing"], "no module is called 'nothing'"),
        ("(", r"'\(' is no regular expression: .*; correct it, or give a list"),
        ("q_proj", "no module is called 'q_proj'"),  # an expression matches a whole path
        (["embed_tokens"], r"model\.embed_tokens cannot be adapted; linear modules are"),
        (["input_layernorm"], "input_layernorm cannot be adapted"),
        ([], "is empty; name some of q_proj"),
    ],
)
def test_mistakes_are_one_line(targets: str | list[str], words: str) -> None:
    with pytest.raises(UserError, match=f"targets: .*{words}|targets: {words}") as caught:
        linear_modules.names(tiny(), targets)
    assert "\n" not in str(caught.value)


def test_a_model_without_plain_linear_modules_is_refused() -> None:
    with pytest.raises(UserError, match="targets: gpt2 has no linear modules that can be adapted"):
        linear_modules.names(families.model("gpt2"), "all-linear", convolutions=False)
