"""What A-GEM and DER++ have in common: replayed rows are not learned like new ones, but put to another use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from cl.data.batches import Batch
from cl.data.sampling import Reading
from cl.errors import UserError
from cl.methods.method import Method


class Rehearsal(Method):
    """Take the replayed rows out of the task loss. `replay` beside it says how many there are, and of what.

    The rows replace new ones, so that the compute is that of plain fine-tuning, where the papers add a batch.
    """

    name: ClassVar[str]

    def active(self, t: int) -> bool:
        """Not at t = 1, where nothing can be replayed."""
        return t > 1

    def takes(self, batch: Batch, readings: Sequence[Reading]) -> Tensor | None:
        """The replayed rows. Raises UserError in a stage that replays nothing."""
        replayed = torch.tensor([reading.replay for reading in readings])
        if batch.origin is None or not replayed.any():
            raise UserError(
                f"{self.name}: nothing is replayed in this stage; put replay with a share above 0 beside it"
            )
        return replayed.to(batch.origin.device)[batch.origin[:, 0]]
