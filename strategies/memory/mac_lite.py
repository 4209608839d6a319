"""A bank of modulations for online adaptation, ours: after MAC (2403.04317) and CMT (2412.07393), and neither of them.

Each document becomes K vectors by one forward pass; a question reads them by attention and gets a prefix of embeddings;
the language model is frozen. The network is trained before the stream, on other documents, by the loss of the answers:

    loss = - log p(answer | [read(question, {write(d) : d in batch}); question])
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cl.errors import UserError
from cl.methods.modulates import Modulates

if TYPE_CHECKING:
    from cl.methods.modulates import Network


@dataclass(eq=False)
class MacLite(Modulates):
    """Put a prefix before each question that a bank of the documents gives. This is not MAC.

    Args:
        inner: width of the vectors of the bank.
        vectors: vectors per document. MAC has 12, for Llama 24.
        prefix: embeddings before a question.

    Deviations from MAC: the encoder is the frozen language model itself with one layer of pooling, not a T5 encoder and
    decoder; the question is read by the same model, not by a second T5; one block of cross-attention with one head, not
    four blocks; a prefix of input embeddings, not two vectors per layer; fresh small layers with Adam at 1e-3 by steps,
    not 50 epochs at 1e-5; no dropout of documents in back-propagation, and no hierarchical aggregation of a long bank:
    all of it is read at once. Of CMT only top-k aggregation is here, and only in reading: neither its objective nor its
    self-matching, and its paper was known by its abstract. So no figure of it may be called MAC's or CMT's.

    Keeps: `vectors` * `inner` numbers per document, which are charged, and the network.
    """

    inner: int = 128
    vectors: int = 8
    prefix: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.inner, self.vectors, self.prefix) < 1:
            raise UserError(f"inner, vectors, prefix: {self.inner}, {self.vectors}, {self.prefix} must be at least 1")

    def network(self, width: int, scale: float) -> Network:
        """The network with fresh weights."""
        from strategies.memory.bank import Bank

        return Bank(width, scale, self.inner, self.vectors, self.prefix)
