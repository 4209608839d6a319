"""Alignment: which stages it adds, and which examples it chooses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cl.errors import UserError
from cl.methods.method import Method, Progress, Stage
from strategies.alignment.base import Alignment, scores
from strategies.alignment.dpo import DPO
from strategies.alignment.sft import SFT
from strategies.schedules.infinite import WSD

STREAM = [Stage("a", {"a": 1.0}, 1, 300, None, 1), Stage("b", {"b": 1.0}, 2, 100, 0, 2)]


class Known:
    """Candidates whose losses are given."""

    seed = 3

    def __init__(self, **found: list[float]) -> None:
        self.found = {name: torch.tensor(values) for name, values in found.items()}

    def __len__(self) -> int:
        return len(next(iter(self.found.values())))

    def nll(self, templated: bool, whole: bool) -> Tensor:
        return self.found[("templated" if templated else "plain") + ("_whole" if whole else "")]


def test_each_evaluated_stage_is_aligned_and_the_stream_goes_on_without_it() -> None:
    found = DPO("liked", 8).stages(SFT("chat", 16, examples=32).stages(STREAM))
    assert [(s.name, s.phase, s.t, s.parent, s.row) for s in found] == [
        ("a", "learn", 1, None, None),
        ("a sft", "sft", 1, 0, None),
        ("a sft dpo", "dpo", 1, 1, 1),
        ("b", "learn", 2, 0, None),
        ("b sft", "sft", 2, 3, None),
        ("b sft dpo", "dpo", 2, 4, 2),
    ]
    assert [(s.total, dict(s.tasks)) for s in found[1:3]] == [(32, {"chat": 1.0}), (8, {"liked": 1.0})]


def test_an_annealed_fork_is_what_is_aligned() -> None:
    found = SFT("chat").stages(WSD().stages(STREAM))
    assert [(s.name, s.parent, s.row) for s in found][:3] == [
        ("a trunk", None, None),
        ("a anneal", 0, None),
        ("a anneal sft", 1, 1),
    ]
    assert found[3].parent == 0  # the next task goes on from the trunk


def test_methods_act_in_the_stages_of_their_phase_only() -> None:
    assert {SFT.phase, DPO.phase, Method.phase} == {"sft", "dpo", "learn"}


@pytest.mark.parametrize(
    ("score", "expected"),
    [("ppl", [3.0, 1.0, 2.0]), ("fas_response", [1.5, 0.25, 2.0]), ("fas_sample", [0.5, 2.0, 1.0])],
)
def test_scores_by_hand(score: Any, expected: list[float]) -> None:
    of = Known(
        templated=[3.0, 1.0, 2.0], plain=[2.0, 4.0, 1.0], templated_whole=[1.0, 4.0, 5.0], plain_whole=[2.0, 2.0, 5.0]
    )
    assert scores(of, score).tolist() == expected


def test_the_lowest_or_highest_are_kept_and_equal_ones_in_their_order() -> None:
    of = Known(templated=[2.0, 1.0, 2.0, 1.0, 3.0])
    assert SFT("chat", 3).select(of) == [1, 3, 0]
    assert SFT("chat", 3, keep="highest").select(of) == [4, 0, 2]


def test_random_ones_are_those_of_the_seed() -> None:
    of, other = Known(templated=[0.0] * 50), Known(templated=[0.0] * 50)
    other.seed = 4
    chosen = SFT("chat", 9, score="random").select(of)
    assert chosen == SFT("chat", 9, score="random").select(of)
    assert chosen != SFT("chat", 9, score="random").select(other)
    assert len(set(chosen)) == 9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": None}, "is needed where count is empty"),
        ({"count": 0}, "must be at least 1"),
        ({"rate": 0.0}, "above 0"),
    ],
)
@pytest.mark.parametrize("method", [SFT, DPO])
def test_meaningless_settings_are_refused(method: type[Alignment], settings: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        method("chat", **settings)


def test_the_rate_is_a_share_of_the_peak() -> None:
    rates = [SFT("chat", rate=0.5).schedule(Progress(step, 10, 1)) for step in range(10)]
    assert max(rates) == 0.5
    assert rates[-1] < 0.1


def test_sft_minimises_the_cross_entropy_of_answers_to_instructions() -> None:
    objective = SFT("chat").objective()
    assert (objective.rows, objective.name, objective.learns_from) == (1, "", ("instruction",))


def test_a_setting_keeps_its_value_beside_what_is_derived_from_it() -> None:
    found = [SFT("chat", 8), SFT("chat", None, examples=32), SFT("chat", 8, examples=32)]
    assert [(method.count, method.examples, method.trained) for method in found] == [
        (8, None, 8),
        (None, 32, 32),
        (8, 32, 32),
    ]
    assert [method.selection_size() for method in found] == [8, None, 8]
