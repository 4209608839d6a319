"""Damage to files: what a full disk, a bad sector or a careless hand leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

How = Literal["deleted", "emptied", "cut off", "flipped"]


def damage(path: Path, how: How | str) -> None:
    """Damage a file: delete it, empty it, cut off its second half, or flip one bit in the middle."""
    content = path.read_bytes()
    if how == "deleted":
        path.unlink()
    elif how == "emptied":
        path.write_bytes(b"")
    elif how == "cut off":
        path.write_bytes(content[: len(content) // 2])
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
