"""What A-GEM and DER++ share: replayed rows leave the task loss and serve another purpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cl.errors import UserError
from cl.methods.method import TakesRows

if TYPE_CHECKING:
    from torch import Tensor

    from cl.data.batches import Batch
    from cl.data.sampling import Reading


@dataclass(eq=False)
class Rehearsal(TakesRows):
    """Take the replayed rows out of the task loss.

    The method `replay` beside it decides how many rows are replayed, and from which tasks. They replace new rows, so
    the compute equals that of plain fine-tuning; the papers add a batch instead.
    """

    name: ClassVar[str]

    def active(self, t: int) -> bool:
        """Do not act at t = 1, where nothing can be replayed."""
        return t > 1

    def row_mask(self, batch: Batch, readings: Sequence[Reading]) -> Tensor | None:
        """Take the replayed rows.

        Raises:
            UserError: in a stage that replays nothing.
        """
        import torch

        replayed = torch.tensor([reading.replay for reading in readings])
        if batch.origin is None or not replayed.any():
            raise UserError(
                f"{self.name}: nothing is replayed in this stage; put replay with a share above 0 beside it"
            )
        return replayed.to(batch.origin.device)[batch.origin[:, 0]]
