"""Replay: shares by hand, and where it is the identity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cl.data.mixture import Account, Ledger
from cl.errors import UserError
from cl.methods.method import Method
from strategies.rehearsal.replay import Replay


def ledger(**tokens: int) -> Ledger:
    return Ledger({name: Account(rows=10, seed=0, trained=10, tokens=count) for name, count in tokens.items()})


def test_the_share_goes_to_earlier_sources_by_tokens_consumed() -> None:
    shares = Replay(share=0.05).mixture({"sp2": 1.0}, ledger(pile=305, sp1=95))
    assert shares == pytest.approx({"sp2": 0.95, "replay:pile": 0.038125, "replay:sp1": 0.011875})


def test_several_new_sources_shrink_alike_and_are_not_replayed() -> None:
    shares = Replay(share=0.2).mixture({"a": 0.75, "b": 0.25}, ledger(a=100, old=300))
    assert shares == pytest.approx({"a": 0.6, "b": 0.2, "replay:old": 0.2})


def test_a_source_of_which_nothing_was_consumed_has_no_share() -> None:
    assert list(Replay().mixture({"new": 1.0}, ledger(old=5, unread=0))) == ["new", "replay:old"]


def test_settings_travel_in_the_share_key() -> None:
    shares = Replay(share=0.5, max_epochs=3, reshuffle=7).mixture({"new": 1.0}, ledger(old=1))
    assert shares == {"new": 0.5, "replay:old?max_epochs=3&reshuffle=7": 0.5}


def rows(**trained: int) -> Ledger:
    return Ledger({name: Account(rows=0, seed=0, trained=n, tokens=100 * n) for name, n in trained.items()})


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("reservoir", {"replay:a?buffer=15": 0.15, "replay:b?buffer=5": 0.05}),  # as 300 to 100
        ("balanced", {"replay:a?buffer=10": 0.1, "replay:b?buffer=10": 0.1}),
    ],
)
def test_a_buffer_has_its_size_whatever_was_trained(policy: Any, expected: dict[str, float]) -> None:
    shares = Replay(share=0.2, buffer=20, policy=policy).mixture({"new": 1.0}, rows(a=300, b=100))
    assert shares == pytest.approx({"new": 0.8} | expected)


def test_a_buffer_that_is_large_enough_keeps_everything() -> None:
    shares = Replay(share=0.2, buffer=1000).mixture({"new": 1.0}, rows(a=300, b=100))
    assert shares == pytest.approx({"new": 0.8, "replay:a?buffer=300": 0.15, "replay:b?buffer=100": 0.05})
    balanced = Replay(share=0.2, buffer=400, policy="balanced").mixture({"new": 1.0}, rows(a=300, b=100))
    assert balanced == pytest.approx({"new": 0.8, "replay:a?buffer=200": 0.2 * 2 / 3, "replay:b?buffer=100": 0.2 / 3})


def test_what_does_not_divide_goes_to_the_first_and_nothing_is_lost() -> None:
    found = Replay(share=0.5, buffer=7, policy="balanced").mixture({"new": 1.0}, rows(a=50, b=50, c=50))
    assert list(found) == ["new", "replay:a?buffer=3", "replay:b?buffer=2", "replay:c?buffer=2"]
    assert sum(found.values()) == pytest.approx(1)


def test_share_zero_is_the_identity_and_is_said() -> None:
    method = Replay(share=0)
    assert method.mixture({"new": 1.0}, Ledger()) == {"new": 1.0}
    assert not method.active(2)
    assert method.validate([]) == ["share 0 is equivalent to plain fine-tuning"]


def test_the_first_task_replays_nothing() -> None:
    assert [Replay().active(t) for t in (1, 2, 3)] == [False, True, True]
    assert Replay(tasks="first").validate([])
    assert not Replay().validate([])


def test_nothing_to_replay_is_an_error() -> None:
    with pytest.raises(UserError, match="nothing was trained before"):
        Replay().mixture({"new": 1.0}, Ledger())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Replay(share=1.5), "share: 1.5"),
        (lambda: Replay(share=-0.1), "share: -0.1"),
        (lambda: Replay(max_epochs=0), "max_epochs: 0"),
        (lambda: Replay(reshuffle=-1), "reshuffle: -1"),
        (lambda: Replay(buffer=0), "buffer: 0 keeps nothing"),
        (lambda: Replay(buffer=9, max_epochs=2), "max_epochs: 2 has no effect with a buffer"),
        (lambda: Replay(policy="balanced"), "policy: balanced has no effect without a buffer"),
    ],
)
def test_bad_settings(build: Callable[[], Method], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()
