"""Declarations of a store: added, read and revoked."""

from __future__ import annotations

from cl.execution.store import Store


def test_a_declaration_is_found_until_it_is_revoked(store: Store) -> None:
    declarations = store.declarations
    assert declarations.of("new") is None
    assert declarations.all() == {}
    declarations.add("new", {"of": "old", "who": "me"})
    declarations.add("another", {"of": "old", "who": "me"})
    assert declarations.of("new") == {"of": "old", "who": "me"}
    assert list(declarations.all()) == ["another", "new"]
    assert store.place("new") == "old"
    declarations.revoke("new")
    assert declarations.of("new") is None
    assert store.place("new") == "new"
