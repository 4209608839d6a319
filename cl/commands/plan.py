"""`cl plan`: the graph of an experiment, and what executing it would cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass
from cl.commands.shared import _planned


def plan(name: str, settings: list[str]) -> None:
    """Print the graph of an experiment and what executing it would cost."""
    _planned(name, settings, protect=False)
