"""Nodes that are published in a store without a computation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cl.execution.store import Store
from cl.graph.node import Node
from tests.support import nodes


def node(seed: int = 0, *needs: str) -> Node:
    return nodes.node("base", f"node {seed}", {"seed": seed}, needs=frozenset(needs))


def compute(store: Store, wanted: Node, files: dict[str, str] | None = None, **result: Any) -> None:
    with store.work(wanted) as work:
        assert work is not None
        for name, text in (files or {"model.safetensors": "weights"}).items():
            (work / "out" / name).parent.mkdir(parents=True, exist_ok=True)
            (work / "out" / name).write_text(text, encoding="utf-8")
        store.publish(wanted, work, {"seconds_in_all": 1.0, **result})


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
