"""Knowledge mixture: continue pre-training on a domain with general instructions and preferences as plain text.

Jiang et al. 2024, arXiv 2407.10804, first part of Mix-CPT: documents, instructions and preferences are one corpus
without chat markers, so knowledge is learned before the form in which it is asked for.
"""

from __future__ import annotations

from typing import Literal

from cl.data.mixture import Ledger
from cl.errors import UserError
from cl.methods.method import Method, Tasks


class KnowledgeMixture(Method):
    """Replace parts of every stage's tokens by general sets of the scenario, as plain text.

    shares: of the stage's rows, by name of a general set; the rest is what the methods before it in the list make of
    the stage. So beside replay put it last: `replay` is then a share of the rest, and views are never replayed.
    preferences: which answers of a preference set enter the text: the `chosen` ones or `both`. Rows come from the
    training splits alone, by the same sampler and ledger as replay, and in place of other tokens.
    Source: that the three kinds are mixed without templates was read; the shares are not reported, a quarter each of
    instructions and preferences is a proposal; which answers enter is not known.
    """

    def __init__(
        self,
        shares: dict[str, float],
        preferences: Literal["chosen", "both"] = "chosen",
        tasks: Tasks = "all",
    ) -> None:
        super().__init__(tasks)
        if min(shares.values(), default=0.0) < 0 or sum(shares.values()) > 1:
            raise UserError(f"shares: {shares} must be at least 0 each and at most 1 together")
        self.shares, self.view = shares, "both" if preferences == "both" else "plain"

    def warnings(self) -> list[str]:
        """Shares under which nothing is mixed in, or nothing else learned."""
        found = {0: "mixes nothing in, equivalent to training without it", 1: "leaves nothing of the stage's own data"}
        return [text for total, text in found.items() if sum(self.shares.values()) == total]

    def mixture(self, shares: dict[str, float], ledger: Ledger) -> dict[str, float]:
        """The stage's own sources, scaled down, and the general ones."""
        left = 1 - sum(self.shares.values())
        own = {source: left * share for source, share in shares.items()}
        return own | {f"{self.view}:{name}": share for name, share in self.shares.items() if share}
