"""Compute-equivalent replay: a fixed share of every batch is old data, in place of new data.

Ibrahim et al. 2024, arXiv 2403.08763: of a budget of B tokens, share x replays, (1 - x) B are new.
"""

from __future__ import annotations

from typing import Literal

from cl.data.mixture import Ledger
from cl.data.sampling import Reading, apportion, replay_shares
from cl.errors import UserError
from cl.methods.method import Method, Tasks


class Replay(Method):
    """Replace `share` of each later stage's tokens by data of earlier tasks.

    The share is split over the earlier sources in proportion to tokens consumed, replayed ones included.
    Rows are read in the order in which they were trained, on from where the last replay stopped, and at
    most `max_epochs` times per stage (1: the paper's limit); more is an error, not a silent repetition.
    reshuffle: seed of another order of these rows (None: the paper's). Replay reads only what was trained
    on; for a pretrained model a proxy corpus stands in, which the plan says.
    buffer: keep that many rows in all, whatever the length of the stream, and replay these, each as often as the share
    asks for (None: keep everything, as the paper does). policy: `reservoir`, a uniform choice of all rows trained on,
    so that a task has a part in it by its size; `balanced`, the same number of rows of each task. Which rows these are
    is drawn once by the seed of the reading order. Deviation from reservoir sampling over the whole stream: how many
    rows a task has in the buffer is the expected number, not a draw.

    share 0.05 is the paper's choice for a weak shift of data, 0.25 for a strong one (English to German).
    """

    def __init__(
        self,
        share: float = 0.05,
        max_epochs: float = 1.0,
        reshuffle: int | None = None,
        buffer: int | None = None,
        policy: Literal["reservoir", "balanced"] = "reservoir",
        tasks: Tasks = "all",
    ) -> None:
        super().__init__(tasks)
        self.share = share
        self.max_epochs = max_epochs
        self.reshuffle = reshuffle
        self.buffer = buffer
        self.policy = policy
        if not 0 <= share <= 1:
            raise UserError(f"share: {share} is not a share; give a number from 0 to 1")
        if max_epochs <= 0:
            raise UserError(f"max_epochs: {max_epochs} allows no replay; give a number above 0, or share: 0")
        if reshuffle is not None and reshuffle < 0:
            raise UserError(f"reshuffle: {reshuffle} is no seed; give 0 or above, or leave it out")
        if buffer is not None and buffer < 1:
            raise UserError(f"buffer: {buffer} keeps nothing; give a number of rows, or leave it out to keep all")
        if buffer is not None and max_epochs != 1:
            raise UserError(
                f"max_epochs: {max_epochs} has no effect with a buffer, whose rows are read again; remove it"
            )
        if buffer is None and policy != "reservoir":
            raise UserError(f"policy: {policy} has no effect without a buffer; give `buffer`, or leave it out")

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
        new = {source: (1 - self.share) * share for source, share in shares.items()}
        past = {
            source: account
            for source, account in ledger.accounts.items()
            if source not in shares and not Reading(source).beside  # what was mixed in is no task
        }
        kept = (
            None if self.buffer is None else self._kept({source: a.trained for source, a in past.items()}, self.buffer)
        )
        weights = {source: account.tokens for source, account in past.items()} if kept is None else kept
        old = {source: share for source, share in replay_shares(weights, self.share).items() if share}
        return new | {self._key(source, None if kept is None else kept[source]): share for source, share in old.items()}

    def _kept(self, trained: dict[str, int], buffer: int) -> dict[str, int]:
        """Rows of each source in the buffer."""
        if self.policy == "reservoir":
            return apportion(buffer, trained)
        return {source: min(part, trained[source]) for source, part in _equal(buffer, list(trained)).items()}

    def _key(self, source: str, buffer: int | None) -> str:
        return str(Reading(source, True, self.max_epochs, self.reshuffle, buffer))


def _equal(buffer: int, sources: list[str]) -> dict[str, int]:
    """Equal parts of a buffer; what does not divide goes to the first ones."""
    return {source: buffer // len(sources) + (at < buffer % len(sources)) for at, source in enumerate(sources)}
