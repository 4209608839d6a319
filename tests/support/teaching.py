"""The toy experiment with teachers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.training import write_strategy, write_toy


def with_mode(folder: Path, *modes: str, methods: tuple[Any, ...] = (), count: int | None = None) -> Path:
    """The toy experiment with a strategy for each mode, named by it; count: of those that sample."""
    write_toy(folder, strategies=dict.fromkeys(modes))
    for mode in modes:
        sampled = {"count": count} if mode in ("cache_sampled", "cache_top_k") else {}
        taught = {"self_distillation": {"weight": 0.5, "mode": mode, **sampled}}
        write_strategy(folder, mode, ["rewarm_cosine", *methods, taught])
    return folder
