"""Declarations of a store: added, read and revoked."""

from __future__ import annotations

from cl.execution.records import Declaration
from cl.execution.store import Store

DECLARED = Declaration(
    "old", "state", "train", "a", "b", ["cl.steps.train:run"], "me@here", "2026-01-01T00:00:00+00:00"
)


def test_a_declaration_is_found_until_it_is_revoked(store: Store) -> None:
    declarations = store.declarations
    assert declarations.of("new") is None
    assert declarations.all() == {}
    declarations.add("new", DECLARED)
    declarations.add("another", DECLARED)
    assert declarations.of("new") == DECLARED
    assert list(declarations.all()) == ["another", "new"]
    assert store.place("new") == "old"
    declarations.revoke("new")
    assert declarations.of("new") is None
    assert store.place("new") == "new"
