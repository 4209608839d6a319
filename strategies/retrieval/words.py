"""Counts of words in texts, on which BM25 and the co-occurrence graph stand."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scipy.sparse import csr_array

WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """The words of a text: runs of letters, digits and underscores in lower case, without stemming or stop words."""
    return WORD.findall(text.casefold())


def vocabulary(texts: Sequence[str]) -> dict[str, int]:
    """Number of each word, in the order of its first occurrence."""
    return {word: place for place, word in enumerate(dict.fromkeys(word for text in texts for word in words(text)))}


def counts(texts: Sequence[str], known: Mapping[str, int]) -> csr_array:
    """How often each known word occurs in each text [texts, words]; other words are left out."""
    from scipy.sparse import csr_array

    found = [Counter(known[word] for word in words(text) if word in known) for text in texts]
    rows = [row for row, each in enumerate(found) for _ in each]
    columns = [word for each in found for word in each]
    values = [float(count) for each in found for count in each.values()]
    return csr_array((values, (rows, columns)), shape=(len(texts), len(known)))
