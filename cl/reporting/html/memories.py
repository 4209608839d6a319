"""Memories beside the weights in a report: columns of the table of strategies, and a table over the rows of R."""

from __future__ import annotations

from collections.abc import Sequence

from cl.metrics.memories import mean
from cl.reporting.formatting import ABSENT, abbreviated
from cl.reporting.html.groups import Group

COLUMNS = ("strategy", "after", "examples stored", "bytes stored", "shown", "dropped", "of its task",
           "tokens read", "without", "ms to find")  # fmt: skip


def figures_at(group: Group, row: int) -> dict[str, float]:
    """Figures of the memory of a row of R, means over sets and seeds; empty without a memory."""
    return mean([mean(list(run.memory[row].values())) for run in group.runs if row in run.memory])


def memory_rows(every: Sequence[Group]) -> list[tuple[str, ...]]:
    """Cells of the table over strategies and rows of R, in the order of COLUMNS."""
    rows: list[tuple[str, ...]] = []
    for group in every:
        for t in sorted({t for run in group.runs for t in run.memory}):
            found = figures_at(group, t)
            own = found.get("own_task")
            rows.append(
                (
                    group.label,
                    group.order[t - 1],
                    abbreviated(found["stored"]),
                    abbreviated(found["bytes"]),
                    f"{found['shown']:.1f}",
                    f"{found['dropped']:.1f}",
                    ABSENT if own is None else f"{own:.0%}",
                    abbreviated(found["read"]),
                    abbreviated(found["alone"]),
                    f"{1000 * found['seconds']:.2g}",
                )
            )
    return rows
