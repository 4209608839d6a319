"""Controlled insertion: items are put into a stream in known numbers at known times, to measure what is memorised.

Hubble, 2510.19811: a perturbed stream is a minimal pair of the plain one. Copies replace a part of chosen rows; all
other rows, the batches and the number of tokens are those of the stream without insertions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cl.data import insertion
from cl.data.insertion import Design
from cl.errors import UserError
from cl.methods.edits_rows import Ahead, EditsRows, Replaced
from cl.methods.method import Method


@dataclass(eq=False)
class Insertion(EditsRows):
    """Insert items of a general set into rows of some stages, each item a fixed number of times in one phase.

    Args:
        of: the general set. Items are the beginnings of its training documents. Of a set of passages each item is a
            pair, of which a random bit chooses what is inserted: the passage or its twin.
        levels: copies of an item. Level 0, items that are never inserted, is always there; an empty list inserts
            nothing.
        phases: equal parts of a stage; each has its own items at each level.
        stages: numbers of the stages with insertions, the first is 1.
        items: items per level and phase.
        tokens: tokens of an item.
        share: largest share of a stage's tokens that copies may replace.
        inside: put copies inside documents, without a separator, as copyright traps are. The model then reads what
            stands before a copy, and the probe `traps` can test membership behind it.

    A copy goes to a document boundary of a row of the stage's own task: replayed and mixed-in rows stay as they are. It
    begins with the separator, so it is a document of its own (but see `inside`). A random assignment, anew for each
    seed, gives each item its level and phase. The probe `memorisation` with the same settings measures what is kept.

    Replay, memories and the ledger go on reading the plain rows: copies are never replayed, and a row with a copy
    counts as a row of its task.

    Source: 2510.19811, section and script on insertion. Hubble's levels are 1, 4, 16, 64 and 256 with 500 to 100 items
    each, and its phases are quarters and halves of one training; the defaults here suit runs on one machine.
    `inside` is the injection of copyright traps, 2402.09363, where all copies of a trap are in one long document; here
    each is in a row of its own. Further deviations: items are cut to one length; rows in the middle of a document take
    the item at their start (`cl.data.insertion.splice`); phases are parts of stages. Items are not searched for in the
    stream: by the random assignment, text that occurs there anyway occurs in controls as often.

    Keeps between tasks: nothing. The manifest of copies is in the train node, `replaced.json`.
    """

    shardable = True
    reads_kinds = ("text", "passage")

    of: str = "canaries"
    levels: list[int] = field(default_factory=lambda: [1, 4, 16])
    phases: int = 4
    stages: list[int] = field(default_factory=lambda: [1])
    items: int = 8
    tokens: int = 32
    share: float = 0.05
    inside: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise UserError(f"share: {self.share} is not a share; give a number above 0, at most 1")
        self.design()

    def design(self) -> Design:
        """The design that the settings describe."""
        return Design(self.of, tuple(self.levels), self.phases, tuple(self.stages), self.items, self.tokens)

    def active(self, t: int) -> bool:
        """Act in the chosen stages, if there is anything to insert."""
        return bool(self.levels) and t in self.stages

    def inactive_settings(self, t: int) -> tuple[str, ...]:
        """The cap decides whether the stage is trained, not how; documents of their own are as without the setting."""
        return ("share",) if self.inside else ("share", "inside")

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Warn about settings under which nothing is inserted."""
        return [] if self.levels else ["no levels: inserts nothing, equivalent to training without it"]

    def reads(self) -> tuple[str, ...]:
        """Return the set of the items."""
        return (self.of,)

    def edits(self) -> tuple[int, ...]:
        """Return the chosen stages."""
        return tuple(self.stages) if self.levels else ()

    def fits(self, rows: int, sequence: int) -> None:
        """Refuse items that are longer than a row, and more copies than `share` allows."""
        if self.tokens + 2 > sequence:
            raise UserError(f"tokens: {self.tokens} do not fit into a row of {sequence}; lower it, or raise sequence")
        copies = self.design().copies
        taken = copies * (self.tokens + 1) / (rows * sequence)
        if taken > self.share:
            much = f"{self.share:g} is exceeded by {copies} copies, {taken:.3f} of the stage's tokens"
            raise UserError(f"share: {much}; insert less, train longer, or raise share")

    def replaced_rows(self, ahead: Ahead) -> list[Replaced]:
        """Return the rows that take up copies, with the manifest."""
        import torch

        from cl.data.rows import Row

        design = self.design()
        items = insertion.read_items(ahead.folders[self.of], ahead.separator, design, ahead.seed)
        copies = insertion.draw(design, ahead.t, ahead.seed, ahead.own)
        found = []
        for copy, draws in zip(copies, insertion.windows(copies, ahead.t, ahead.seed), strict=True):
            row = ahead.row(copy.step, copy.slot).ids.numpy()
            note = copy._asdict()
            if self.inside:
                spliced, before = insertion.splice_inside(row, items[copy.item], ahead.separator, draws[0])
                note |= {"before": before.tolist()}
            else:
                spliced = insertion.splice(row, items[copy.item], ahead.separator, draws)
            length = len(items[0]) - self.inside
            note |= {"boundary": spliced.boundary, "offset": spliced.offset, "length": length}
            found.append(Replaced(copy.step, copy.slot, Row(torch.from_numpy(spliced.ids), None), note))
        return found
