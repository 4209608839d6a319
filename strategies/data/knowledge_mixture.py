"""Knowledge mixture: continue pre-training on a domain with general instructions and preferences as plain text.

Jiang et al. 2024, arXiv 2407.10804, first part of Mix-CPT: documents, instructions and preferences are one corpus
without chat markers, so knowledge is learned before the form of the questions about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cl.errors import UserError
from cl.methods.method import InSomeTasks, Method, PlansStages

if TYPE_CHECKING:
    from cl.data.mixture import Ledger


@dataclass(eq=False)
class KnowledgeMixture(InSomeTasks, PlansStages):
    """Replace parts of every stage's tokens by general sets of the scenario, as plain text.

    Args:
        shares: share of the stage's rows, by name of a general set; together at most 1.
        preferences: answers of a preference set that enter the text: the `chosen` ones or `both`.
        tasks: stages in which the method acts: `all`, `first` or `later`.

    The remaining share is what the methods listed before it make of the stage. So list it after `replay`: the share of
    `replay` is then a share of the remainder, and the mixed-in sets are never replayed. Rows come from the training
    splits alone, by the same sampler and ledger as replay, and in place of other tokens.

    Source: that the three kinds are mixed without templates was read. The shares are not reported; a quarter each of
    instructions and preferences is a proposal. Which answers enter is not known.

    Keeps between tasks: nothing.
    """

    shares: dict[str, float]
    preferences: Literal["chosen", "both"] = "chosen"

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.shares.values(), default=0.0) < 0 or sum(self.shares.values()) > 1:
            raise UserError(f"shares: {self.shares} must be at least 0 each and at most 1 together")

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Warn about shares under which nothing is mixed in, or nothing of the stage's own data is learned."""
        found = {0: "mixes nothing in, equivalent to training without it", 1: "leaves nothing of the stage's own data"}
        return [text for total, text in found.items() if sum(self.shares.values()) == total]

    def mixture(self, shares: dict[str, float], ledger: Ledger) -> dict[str, float]:
        """Return the stage's own sources, scaled down, and the general sets."""
        view = "both" if self.preferences == "both" else "plain"
        left = 1 - sum(self.shares.values())
        own = {source: left * share for source, share in shares.items()}
        return own | {f"{view}:{name}": share for name, share in self.shares.items() if share}
