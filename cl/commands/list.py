"""`cl list`: names of strategies, scenarios, models, metrics and experiments."""

from __future__ import annotations

from collections.abc import Iterator

from rich.markup import escape
from rich.table import Table

from cl import registry
from cl.commands.shared import console


def list_names(kind: str) -> None:
    """Print name, description and source of everything of a kind.

    Args:
        kind: strategies, scenarios, models, metrics or experiments.
    """
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    found = _models() if kind == "models" else _metrics() if kind == "metrics" else _definitions(kind)
    for name, text, note in found:
        table.add_row(escape(name), escape(text) + (f"\n[dim]{escape(note)}[/]" if note else ""))
    console.print(table)


def _models() -> Iterator[tuple[str, str, str]]:
    """Name, description and source of models."""
    from cl.models import pretrained

    for group, entries in pretrained.table().items():
        for name, entry in entries.items():
            yield name, f"{entry['about']} ({group})", ""
    yield "DIRECTORY", "any transformers causal LM saved with save_pretrained", ""
    yield "OWNER/NAME", "any transformers causal LM on the hub (needs a network)", ""


def _metrics() -> Iterator[tuple[str, str, str]]:
    """Name, description and source of metrics."""
    from cl.metrics import catalog

    for metric in catalog.declared():
        yield metric.key, metric.description, f"{metric.better} is better, {metric.unit}; {metric.source}"
    yield "PACKAGE.MODULE:NAME", "a metric of your own, see docs/write_a_metric.md", ""


def _definitions(kind: str) -> Iterator[tuple[str, str, str]]:
    """Name, description and source of strategies, scenarios or experiments."""
    for name in registry.names(kind):  # type: ignore[arg-type]  # the parser admits only the known kinds
        found = registry.read(kind, name)  # type: ignore[arg-type]
        notes = [f"keeps {found['keeps']}" if "keeps" in found else "", str(found.get("paper", ""))]
        yield name, str(found.get("summary") or found.get("question") or ""), "; ".join(filter(None, notes))
