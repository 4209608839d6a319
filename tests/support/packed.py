"""Packed text in one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cl.data.text_rounds import rounds


def packed(texts: Sequence[str], tokenizer: Any, separator: int) -> npt.NDArray[np.int32]:
    """All rounds together."""
    return np.concatenate([np.zeros(0, np.int32), *(ids for _, ids in rounds(texts, tokenizer, separator))])
