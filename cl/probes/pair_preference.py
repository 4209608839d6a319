"""Preference in pairs: of two texts that say the same, whether the model finds the one likelier that was inserted.

Hubble, 2510.19811, inserts one of each pair of MRPC and PAWS by a random bit. So before the insertion the preference is
one half, whatever the texts are, and a rise is memory of the wording and not of the content.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cl.data.insertion import read_pairs
from cl.errors import UserError
from cl.metrics.roc import NORMAL_95
from cl.probes import inserted
from cl.probes.probe import Beside, Data, Measure, State
from cl.registry import unknown

if TYPE_CHECKING:
    from torch import Tensor

CELLS = (("copies", "phase"),)
SHARE = "share of pairs"


@dataclass(frozen=True)
class PairPreference(inserted.OfInserted):
    """Share of pairs whose inserted text is likelier than the other one, by copies and phase.

    Args:
        of: the general set, of kind passage: a passage and its twin are a pair.
        levels: copies of an item.
        phases: equal parts of a stage.
        stages: numbers of the stages with insertions.
        items: items per level and phase.
        tokens: tokens of an item.

    The settings are those of the method `insertion`; a strategy that inserts with others is refused. A strategy without
    insertions is a control: there the bits choose, but nothing is inserted. Data sets are cells, such as `copies 16
    phase 2`, and `copies 0`: pairs of which nothing was inserted, all phases together. A tie counts one half.

    Source: 2510.19811, pair preference. Deviation: both texts of a pair are cut to one number of tokens, so their
    log-likelihoods are compared as they are, not per byte.
    """

    kinds: ClassVar[tuple[str, ...]] = ("passage",)
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("preferred", "higher", SHARE, "Share of pairs whose inserted text is likelier than the other.",
                chance=0.5, axes=CELLS, null="null"),
        Measure("before", "neither", SHARE, "The same before the stage of the insertion.", chance=0.5),
        Measure("gained", "higher", SHARE, "Rise of the share since before the stage of the insertion.", chance=0.0,
                axes=CELLS),
        Measure("null", "lower", SHARE, "Half-width of the 95 % interval of a share around 0.5 under chance."),
    )  # fmt: skip

    def check(self, beside: Beside) -> None:
        """Refuse other items than the probe measures, and a set that has no pairs."""
        if self.of not in beside.sets:
            raise UserError(unknown("of: set of passages", self.of, beside.sets))
        super().check(beside)

    def references(self) -> tuple[int, ...]:
        """Return the rows before the stages of insertion."""
        return tuple(t - 1 for t in self.stages)

    def measure(self, state: State, data: Data) -> dict[str, dict[str, float]]:
        """Return the figures of each cell and of the control."""
        design, seed = self.design(), inserted.history_of(state).seed
        pair = read_pairs(data.folders[self.of], design, seed)

        def asked(of: State) -> Tensor:
            one, other = (inserted.log_probabilities(of, items).double().sum(1) for items in pair)
            return preferred(one, other)

        now, before = asked(state), {row: asked(opened()) for row, opened in state.references.items()}
        cells = design.assigned(seed)
        never = [item for (level, _), found in cells.items() if not level for item in found]
        result = {"copies 0": figures(now, before.get(min(design.stages) - 1), never)}
        for (level, phase), found in cells.items():
            if level:
                result[inserted.label((level, phase))] = figures(now, before.get(design.stage_of(phase) - 1), found)
        return result


def preferred(one: Tensor, other: Tensor) -> Tensor:
    """1 where the first log-likelihood of a pair is larger, one half where both are equal [pairs]."""
    return 0.5 * ((one > other).double() + (one >= other).double())


def figures(now: Tensor, before: Tensor | None, pairs: Sequence[int]) -> dict[str, float]:
    """Share of some pairs whose inserted text is preferred, with what it was before and its interval under chance.

    Args:
        now: preference of each pair [all pairs].
        before: the same before the stage of the insertion. None: that state is still to come.
        pairs: numbers of the pairs.
    """
    found = {"preferred": float(now[pairs].mean()), "null": NORMAL_95 * math.sqrt(0.25 / len(pairs))}
    if before is not None:
        found["before"] = float(before[pairs].mean())
        found["gained"] = found["preferred"] - found["before"]
    return found
