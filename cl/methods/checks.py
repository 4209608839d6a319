"""Whether methods can train a stage together: on one objective, and on the devices of the experiment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cl.errors import UserError
from cl.methods.method import Method, Remembers, TakesRows, Trains, overrides


def check_objectives(methods: Sequence[Trains]) -> None:
    """Check that the objectives of a stage's methods agree.

    Raises:
        UserError: if two methods name an objective, or one replaces the cross-entropy to which another adds terms.
    """
    found = [(type(method).__name__, objective) for method in methods if (objective := method.objective()) is not None]
    if len(found) > 1:
        names = " and ".join(name for name, _ in found)
        raise UserError(f"strategy: {names} each replace the loss, only one may; leave one of them out")
    adding = [type(method).__name__ for method in methods if overrides(method, Trains.token_terms)]
    if adding and found and found[0][1].name:
        raise UserError(
            f"strategy: {adding[0]} adds terms to the loss of tokens, which {found[0][0]} replaces; leave one out"
        )


def check_trained(methods: Sequence[Trains]) -> None:
    """Check that one method at most decides which parameters a stage trains.

    Raises:
        UserError: if two methods do.
    """
    found = [type(method).__name__ for method in methods if method.adds_parameters]
    if len(found) > 1:
        names = " and ".join(found)
        raise UserError(f"strategy: {names} each decide what is trained, only one may; leave one of them out")


def check_devices(methods: Iterable[Method], sharded: bool) -> None:
    """Refuse methods that several devices cannot train together.

    Rows that a method takes are unevenly spread over processes, so a mean over processes would not be the mean over
    rows. All other terms are equal in all processes, or means over tokens weighed by their number.

    Raises:
        UserError: for a method that takes rows or replaces the loss, and if the model is sharded, for one that is not
            `shardable`.
    """
    for method in methods:
        name = type(method).__name__
        if isinstance(method, TakesRows):
            raise UserError(f"train.devices: {name} takes rows out of the loss, not as many in each process; use 1")
        own = method.objective() if isinstance(method, Trains) else None
        if own is not None and own.name:  # no test compares it with one process yet
            raise UserError(f"train.devices: {name} replaces the loss, not verified on several devices; use 1")
        if sharded and isinstance(method, Trains) and not method.shardable:
            raise UserError(f"train.distributed: {name} needs whole parameters; use ddp in place of fsdp")
        if sharded and isinstance(method, Remembers):
            raise UserError(f"train.distributed: {name} needs whole parameters; use ddp in place of fsdp")
