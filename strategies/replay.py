"""Compute-equivalent replay: a fixed share of every batch is old data, in place of new data.

Ibrahim et al. 2024, arXiv 2403.08763: of a budget of B tokens, share x replays, (1 - x) B are new.
"""

from __future__ import annotations

from cl.errors import UserError
from cl.method import Method, Tasks
from cl.mixing import Ledger
from cl.reading import Reading, replay_shares


class Replay(Method):
    """Replace `share` of each later stage's tokens by data of earlier tasks.

    The share is split over the earlier sources in proportion to tokens consumed, replayed ones included.
    Rows are read in the order in which they were trained, on from where the last replay stopped, and at
    most `max_epochs` times per stage (1: the paper's limit); more is an error, not a silent repetition.
    reshuffle: seed of another order of these rows (None: the paper's). Replay reads only what was trained
    on; for a pretrained model a proxy corpus stands in, which the plan says.

    share 0.05 is the paper's choice for a weak shift of data, 0.25 for a strong one (English to German).
    """

    def __init__(
        self, share: float = 0.05, max_epochs: float = 1.0, reshuffle: int | None = None, tasks: Tasks = "all"
    ) -> None:
        super().__init__(tasks)
        self.share = share
        self.max_epochs = max_epochs
        self.reshuffle = reshuffle
        if not 0 <= share <= 1:
            raise UserError(f"share: {share} is not a share; give a number from 0 to 1")
        if max_epochs <= 0:
            raise UserError(f"max_epochs: {max_epochs} allows no replay; give a number above 0, or share: 0")
        if reshuffle is not None and reshuffle < 0:
            raise UserError(f"reshuffle: {reshuffle} is no seed; give 0 or above, or leave it out")

    def active(self, t: int) -> bool:
        """Not at t = 1, where nothing was trained before, and not with share 0."""
        return t > 1 and self.share > 0 and super().active(t)

    def warnings(self) -> list[str]:
        """Settings under which nothing is replayed, or nothing else."""
        if self.tasks == "first":
            return ["tasks first has nothing to replay, equivalent to plain fine-tuning"]
        degenerate = {0: "share 0 is equivalent to plain fine-tuning", 1: "share 1 trains on nothing new"}
        return [degenerate[int(self.share)]] if self.share in degenerate else []

    def mixture(self, shares: dict[str, float], ledger: Ledger) -> dict[str, float]:
        """New data (1 - share), and earlier sources that the stage does not train anyway.

        Raises UserError if there are none.
        """
        if self.share == 0:
            return shares
        past = {source: tokens for source, tokens in ledger.tokens.items() if source not in shares}
        new = {source: (1 - self.share) * share for source, share in shares.items()}
        old = {self._key(source): share for source, share in replay_shares(past, self.share).items() if share}
        return new | old

    def _key(self, source: str) -> str:
        return str(Reading(source, replay=True, max_epochs=self.max_epochs, reshuffle=self.reshuffle))
