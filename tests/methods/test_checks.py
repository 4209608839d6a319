"""Objectives of a stage: the default by hand, and which methods disagree about it; which stages can be edited."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from cl.data.batches import Batch
from cl.errors import UserError
from cl.methods.checks import check_devices, check_edits, check_objectives, check_trained
from cl.methods.edits_rows import EditsRows
from cl.methods.method import MicroBatch, PlansStages, Stage, Teaching, Trains
from cl.methods.objective import Objective, TokenCrossEntropy
from cl.models.losses import Criterion, Outputs
from strategies.adapters.lora import Lora
from strategies.adapters.prompts import Prompts
from strategies.distillation.lwf import LwF
from tests.support.methods import Half, Names


class Adds(Trains):
    """Adds a term to the loss of tokens."""

    def token_terms(self, batch: MicroBatch) -> dict[str, Criterion]:
        return {}


class Leaves(Trains):
    """Leaves the loss as it is."""


def test_the_default_is_the_summed_cross_entropy_of_the_learned_tokens() -> None:
    default: Objective = TokenCrossEntropy()
    logits, targets = torch.tensor([[0.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1])
    expected = torch.tensor(2.0).log() + torch.tensor(1 + torch.e**-2).log()
    batch: Any = None
    torch.testing.assert_close(default.total(None, Outputs(logits, None, targets), batch), expected)
    assert default.count(Batch(torch.zeros(3, 5, dtype=torch.int64), None)) == 3 * 4
    assert (default.rows, default.name, default.learns_from) == (1, "", ("text", "instruction"))


@pytest.mark.parametrize(
    "methods",
    [
        [],
        [Leaves(), Adds(), Adds()],
        [Leaves(), Names(Half())],
        [Adds(), Names(TokenCrossEntropy(("instruction",)))],  # whose terms are added to the loss of tokens
    ],
)
def test_methods_that_agree(methods: list[Trains]) -> None:
    check_objectives(methods)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ([Names(Half()), Leaves(), Names(TokenCrossEntropy())], "Names and Names each replace the loss, only one may"),
        ([Adds(), Names(Half())], "Adds adds terms to the loss of tokens, which Names replaces; leave one out"),
        ([Names(Half()), Adds()], "Adds adds terms to the loss of tokens, which Names replaces; leave one out"),
    ],
)
def test_methods_that_disagree_are_told(methods: list[Trains], message: str) -> None:
    with pytest.raises(UserError, match=f"strategy: {message}"):
        check_objectives(methods)


def test_a_replaced_loss_is_refused_on_several_devices() -> None:
    check_devices([Leaves(), Adds(), Names(TokenCrossEntropy(("instruction",)))], sharded=False)
    with pytest.raises(UserError, match="Names replaces the loss, not verified on several devices; use 1"):
        check_devices([Leaves(), Names(Half())], sharded=False)


def test_two_methods_that_decide_what_is_trained_are_refused() -> None:
    with pytest.raises(UserError, match="strategy: Lora and Prompts each decide what is trained, only one may"):
        check_trained([Lora(), Prompts()])
    check_trained([Lora(), LwF()])


@dataclass(eq=False)
class Edits(EditsRows):
    """Edits the rows of stage 1."""

    def edits(self) -> tuple[int, ...]:
        return (1,)


@dataclass(eq=False)
class Taught(PlansStages):
    """Has stored predictions of a teacher, in some stages."""

    stage: int = 1

    def active(self, t: int) -> bool:
        return t == self.stage

    def teaching(self, t: int) -> Teaching:
        return Teaching("base", "cache_hidden")


def test_edited_stages_are_there_whole_and_passed_on() -> None:
    first = Stage("a", {"a": 1.0}, 1, 100, None, None)
    aligned = Stage("a sft", {"chat": 1.0}, 1, 10, 0, 1, phase="sft")
    second = Stage("b", {"b": 1.0}, 2, 100, 0, 2)
    check_edits([Edits()], [first, aligned, second])
    check_edits([], [replace(second, parent=None)])
    for stages, message in [
        ([replace(second, parent=None)], "edits stage 1, which this strategy does not train"),
        ([replace(first, stop=0.9), second], "edits stage 1, which this strategy trains in parts"),
        ([first, replace(second, parent=None)], "edits stage 1, from which stage 2 does not go on"),
    ]:
        with pytest.raises(UserError, match=message):
            check_edits([Edits()], stages)
    check_edits([Edits(), Taught(2)], [first, second])
    with pytest.raises(UserError, match="stored predictions of a teacher are of the rows before"):
        check_edits([Edits(), Taught(1)], [first, second])
    with pytest.raises(UserError, match="Edits and Edits each edit rows, only one may"):
        check_edits([Edits(), Edits()], [first])
