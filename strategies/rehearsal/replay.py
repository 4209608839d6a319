"""Compute-equivalent replay: a fixed share of every batch is old data, in place of new data.

Ibrahim et al. 2024, arXiv 2403.08763: of a budget of B tokens, the share x is replayed and (1 - x) B tokens are new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cl.data.sampling import Reading, apportion, replay_shares
from cl.errors import UserError
from cl.methods.method import InSomeTasks, Method, PlansStages

if TYPE_CHECKING:
    from cl.data.mixture import Ledger


@dataclass(eq=False)
class Replay(InSomeTasks, PlansStages):
    """Replace a share of each later stage's tokens by data of earlier tasks.

    Args:
        share: share of replayed tokens. The paper uses 0.05 for a weak shift of the data, 0.25 for a strong one.
        max_epochs: how often one stage may read the replayed rows. The paper's limit is 1; more is an error.
        reshuffle: seed of another order of the replayed rows. None: the order of training, as in the paper.
        buffer: rows that are kept in all, whatever the length of the stream. None: all rows, as in the paper.
        policy: which rows the buffer keeps: `reservoir` or `balanced`.
        tasks: stages in which the method acts: `all`, `first` or `later`.

    The share is split over the earlier sources in proportion to the tokens consumed, replayed tokens included. Rows are
    read in the order in which they were trained, continuing where the last replay stopped. Reading them more than
    `max_epochs` times is an error, not a silent repetition. Replay reads only rows that were trained on; for a
    pretrained model a proxy corpus takes their place, and the plan says so.

    With a buffer, each of its rows is replayed as often as the share asks for. Policies:

    - `reservoir`: a uniform choice of all rows trained on, so a task's part of the buffer is proportional to its size;
    - `balanced`: the same number of rows of each task.

    The rows of the buffer are drawn once, by the seed of the reading order.

    The strong shift of the paper is English to German.
    Deviation from reservoir sampling over the whole stream: the number of rows of a task in the buffer is the expected
    number, not a draw.

    Keeps between tasks: the rows trained on, in order; with a buffer, so many rows.
    """

    share: float = 0.05
    max_epochs: float = 1.0
    reshuffle: int | None = None
    buffer: int | None = None
    policy: Literal["reservoir", "balanced"] = "reservoir"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.share <= 1:
            raise UserError(f"share: {self.share} is not a share; give a number from 0 to 1")
        if self.max_epochs <= 0:
            raise UserError(f"max_epochs: {self.max_epochs} allows no replay; give a number above 0, or share: 0")
        if self.reshuffle is not None and self.reshuffle < 0:
            raise UserError(f"reshuffle: {self.reshuffle} is no seed; give 0 or above, or leave it out")
        if self.buffer is not None and self.buffer < 1:
            raise UserError(f"buffer: {self.buffer} keeps nothing; give a number of rows, or leave it out to keep all")
        if self.buffer is not None and self.max_epochs != 1:
            raise UserError(
                f"max_epochs: {self.max_epochs} has no effect with a buffer, whose rows are read again; remove it"
            )
        if self.buffer is None and self.policy != "reservoir":
            raise UserError(f"policy: {self.policy} has no effect without a buffer; give `buffer`, or leave it out")

    def active(self, t: int) -> bool:
        """Do not act at t = 1, where nothing was trained before, nor with share 0."""
        return t > 1 and self.share > 0 and super().active(t)

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Warn about settings under which nothing is replayed, or nothing new is learned."""
        if self.tasks == "first":
            return ["tasks first has nothing to replay, equivalent to plain fine-tuning"]
        degenerate = {0: "share 0 is equivalent to plain fine-tuning", 1: "share 1 trains on nothing new"}
        return [degenerate[int(self.share)]] if self.share in degenerate else []

    def mixture(self, shares: dict[str, float], ledger: Ledger) -> dict[str, float]:
        """Return (1 - share) of new data, and a share of earlier sources that the stage does not train itself.

        Raises:
            UserError: if there is no earlier source.
        """
        if self.share == 0:
            return shares
        new = {source: (1 - self.share) * share for source, share in shares.items()}
        past = {
            source: account
            for source, account in ledger.accounts.items()
            if source not in shares and not Reading(source).beside  # mixed-in sets are not tasks
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
    """Equal parts of a buffer; the remainder goes to the first sources."""
    return {source: buffer // len(sources) + (at < buffer % len(sources)) for at, source in enumerate(sources)}
