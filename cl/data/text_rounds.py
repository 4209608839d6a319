"""Packed text: documents one behind another in one flat array of token ids, made in rounds.

A round is what is encoded before its ids are kept on the disk, so memory holds one round whatever the size of the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cl.data.encoding import Ids, encoded, grouped
from cl.data.tokenization import frame

ROUND = 16_000_000  # characters
MOST = 1_000_000  # documents of a round


def rounds(documents: Sequence[object], tokenizer: Any, separator: int, done: int = 0) -> Iterator[tuple[int, Ids]]:
    """Encode documents, each in its frame, and a separator behind the last one.

    Special tokens in a text are encoded as plain text, so a document cannot forge a boundary.

    Args:
        documents: the texts.
        tokenizer: transformers tokenizer.
        separator: id of the separator.
        done: documents that were encoded before.

    Yields:
        Number of documents that are encoded now, and the token ids of the round.
    """
    before, after = (np.array(ids, dtype=np.int32) for ids in frame(tokenizer, separator))
    for texts in grouped(map(str, documents[done:]), MOST, ROUND):
        done += len(texts)
        pieces = [part for ids in encoded(texts, tokenizer) for part in (before, ids, after)]
        end = np.array([separator] if done == len(documents) else [], dtype=np.int32)
        yield done, np.concatenate([*pieces, end])
