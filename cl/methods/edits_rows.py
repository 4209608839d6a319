"""The protocol of methods that train on other rows than the plan's, in known places."""

from __future__ import annotations

from typing import ClassVar

from cl.methods.contexts import Ahead, Replaced
from cl.methods.method import Trains

__all__ = ["Ahead", "EditsRows", "Replaced"]


class EditsRows(Trains):
    """Trains on other rows in place of some of a stage of text, as many and as long.

    The plan, the ledger, replay, memories and surveys know the plan's rows alone. So do stored predictions of a
    teacher, which are refused beside such a method: see `cl.methods.checks`.

    Attributes:
        reads_kinds: kinds of the general sets that `reads` may name.
    """

    reads_kinds: ClassVar[tuple[str, ...]] = ("text",)

    def reads(self) -> tuple[str, ...]:
        """Return the names of the general sets that `replaced_rows` reads."""
        return ()

    def edits(self) -> tuple[int, ...]:
        """Return the numbers of the stages whose rows are edited; the run must have them, each trained as a whole."""
        return ()

    def fits(self, rows: int, sequence: int) -> None:
        """Check an edited stage of so many rows of `sequence` tokens. Runs while planning.

        Raises:
            UserError: if the method cannot edit it.
        """

    def replaced_rows(self, ahead: Ahead) -> list[Replaced]:
        """Return the rows to train on in place of the plan's. Runs before the first step, on resumption as well."""
        return []
