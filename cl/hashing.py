"""Content hashes of JSON data."""

from __future__ import annotations

import hashlib
import json
from typing import Any

KEY_LENGTH = 20  # hex digits: 80 bits, ample for a store of millions of nodes


def digest(data: Any) -> str:
    """Hash of JSON data, independent of the order of mapping keys. Raises TypeError for anything not JSON."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]
