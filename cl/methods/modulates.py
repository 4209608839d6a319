"""The protocol of a method that puts a prefix before each question: a bank of modulations beside frozen weights.

Two nodes stand before a row of R. An amortise node (`cl.steps.amortise`) trains a network on the articles of a set
outside of the stream, with the loss of their answers alone; the language model is frozen. A modulate node
(`cl.steps.modulate`) writes the documents of the reading tasks learned so far into a bank, each by one forward pass,
and reads from it a prefix of embeddings for each question. The row's model is the one that was there before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from cl.errors import UserError
from cl.methods.method import Method

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn


class Network(Protocol):
    """A network of a bank: a torch module with two more functions.

    Shapes: B documents or questions, T tokens, D width of the language model, n documents in the bank.
    """

    def write(self, states_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Entries of the bank, one for each document [B, …], from the model's last hidden states."""

    def read(self, states_BTD: Tensor, mask_BT: Tensor, bank: Tensor, top_k: int | None) -> Tensor:
        """A prefix of embeddings for each question [B, P, D], from its hidden states and the bank [n, …]."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """The trained parameters."""

    def state_dict(self) -> dict[str, Tensor]:
        """The stored tensors."""


@dataclass(eq=False)
class Modulates(Method):
    """Puts a prefix before the questions of reading tasks. Derive a dataclass with `eq=False`, and override `network`.

    Args:
        of: general set of kind `reading` whose articles train the network; it shares no document with the stream.
        steps: optimizer steps of that training (Adam).
        batch: documents per step, with one question each. The bank of a step holds these documents alone.
        lr: peak learning rate, after 1 % of warm-up.
        top_k: documents of the bank that a question reads, those that suit it best. None: all.

    Attributes:
        reading_settings: names of settings that act only where a bank is read.
    """

    of: str
    steps: int = 1000
    batch: int = 16
    lr: float = 1.0e-3
    top_k: int | None = None

    reading_settings: ClassVar[tuple[str, ...]] = ("top_k",)

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "top_k"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"{name}: {value} must be at least 1")
        if self.lr <= 0:
            raise UserError(f"lr: {self.lr} must be above 0")

    def network(self, width: int, scale: float) -> Network:
        """Build the network with fresh weights.

        Args:
            width: width D of the language model.
            scale: root mean square of its token embeddings.
        """
        raise NotImplementedError
