"""Replay: shares by hand, and where it is the identity."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cl.errors import UserError
from cl.method import Method
from cl.mixing import Account, Ledger
from strategies.replay import Replay


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


def test_share_zero_is_the_identity_and_is_said() -> None:
    method = Replay(share=0)
    assert method.mixture({"new": 1.0}, Ledger()) == {"new": 1.0}
    assert not method.active(2)
    assert method.warnings() == ["share 0 is equivalent to plain fine-tuning"]


def test_the_first_task_replays_nothing() -> None:
    assert [Replay().active(t) for t in (1, 2, 3)] == [False, True, True]
    assert Replay(tasks="first").warnings()
    assert not Replay().warnings()


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
    ],
)
def test_bad_settings(build: Callable[[], Method], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()
