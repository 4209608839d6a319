"""Token ids of many texts, by all cores of the machine.

A fast tokenizer of transformers builds masks and lists for each text that nobody reads here. So its backend is asked
directly, and with its own threads, which `TOKENIZERS_PARALLELISM=false` keeps from all other calls: a process that
forks after threads were used could hang.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]
BATCH = 1000  # texts encoded at once
CHARACTERS = 4_000_000  # of the texts encoded at once: an encoding takes about 100 bytes per token
THREADS = "TOKENIZERS_PARALLELISM"


def encoded(texts: Sequence[str], tokenizer: Any) -> Iterator[Ids]:
    """Yield the token ids of each text, without special tokens; special tokens in a text are encoded as plain text.

    Args:
        texts: the texts.
        tokenizer: transformers tokenizer.
    """
    with _plain(tokenizer) as backend:
        fast = backend is not None and (not texts or _agree(tokenizer, backend, texts[0]))
        for batch in grouped(texts, BATCH, CHARACTERS):
            if fast:
                yield from (np.array(each.ids, dtype=np.int32) for each in by_all_cores(backend, batch))
            else:
                yield from (np.array(ids, dtype=np.int32) for ids in _own(tokenizer, batch))


def grouped(texts: Iterable[str], most: int, characters: int) -> Iterator[list[str]]:
    """Consecutive texts in groups: at most so many texts and characters each, and at least one text."""
    group, size = list[str](), 0
    for text in texts:
        if group and (len(group) == most or size + len(text) > characters):
            yield group
            group, size = [], 0
        group.append(text)
        size += len(text)
    if group:
        yield group


def _own(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Token ids by the tokenizer's own call."""
    found = tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)
    ids: list[list[int]] = found["input_ids"]
    return ids


def _agree(tokenizer: Any, backend: Any, text: str) -> bool:
    """Whether the backend alone encodes a text as the tokenizer does: a tokenizer may change texts before."""
    return bool(_own(tokenizer, [text])[0] == backend.encode_batch_fast([text], add_special_tokens=False)[0].ids)


@contextmanager
def _plain(tokenizer: Any) -> Iterator[Any]:
    """The backend of a fast tokenizer, set to encode special tokens as text, without cutting or padding; or None."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if not getattr(tokenizer, "is_fast", False) or not hasattr(backend, "encode_batch_fast"):
        yield None
        return
    before = backend.encode_special_tokens
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    try:
        yield backend
    finally:
        backend.encode_special_tokens = before


def by_all_cores(backend: Any, texts: list[str]) -> Any:
    """Encodings of a batch by as many threads as there are cores."""
    before = os.environ.get(THREADS)
    os.environ[THREADS] = "true"
    try:
        return backend.encode_batch_fast(texts, add_special_tokens=False)
    finally:
        if before is None:
            del os.environ[THREADS]
        else:
            os.environ[THREADS] = before
