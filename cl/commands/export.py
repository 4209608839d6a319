"""`cl export`: the model of one run as a folder for plain transformers or peft, with a card; or on the hub."""

from __future__ import annotations

import shlex
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from cl.commands.shared import build_graph, console, quiet
from cl.errors import UserError
from cl.execution.store import Store

if TYPE_CHECKING:
    from cl.graph.planner import Graph
    from cl.graph.selection import Selection

HUB = "hub:"


def export(name: str, settings: list[str], to: str, row: int | None, merged: bool, selection: Selection | None) -> None:
    """Write the model of a row of R of one run, which is stored, and its card.

    Args:
        name: name or path of the experiment.
        settings: settings of the command line.
        to: a new folder, or `hub:USER/NAME`.
        row: row of R. None: the last.
        merged: merge adapters into the weights.
        selection: options that choose the run.

    Raises:
        UserError: for several runs, a row that is absent or not stored, a folder that exists.
    """
    graph = build_graph(name, settings, selection)
    typed = ["cl", "run", name, *settings, *([] if selection is None else selection.arguments)]
    chosen = _row(graph, row)
    if to.startswith(HUB):
        with tempfile.TemporaryDirectory() as text:
            _write(graph, chosen, Path(text), merged, shlex.join(typed))
            console.print(f"uploaded {escape(_upload(Path(text), to.removeprefix(HUB)))}")
        return
    folder = Path(to)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--to: {to} exists and is not empty; name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    library = _write(graph, chosen, folder, merged, shlex.join(typed))
    console.print(f"exported {escape(str(folder))}, for {library}, with a card in README.md")


def _row(graph: Graph, row: int | None) -> int:
    """The row whose model is meant. Raises UserError unless there is one run, which has the row."""
    if graph.part is not None:
        raise UserError("export: --until and --only-kind choose no run; use --only and --row")
    if len(graph.runs) > 1:
        there = list(dict.fromkeys(run.strategy.label for run in graph.runs))
        one = f"--only=strategies.{there[0]},seeds.{graph.runs[0].seed}"
        raise UserError(f"export: {len(graph.runs)} runs, and one can be exported; add {one} (of {', '.join(there)})")
    rows = graph.runs[0].rows
    chosen = max(rows) if row is None else row
    if chosen not in rows:
        raise UserError(f"--row: {chosen} is not evaluated by this run; rows are {', '.join(map(str, sorted(rows)))}")
    return chosen


def _write(graph: Graph, row: int, folder: Path, merged: bool, typed: str) -> str:
    """Write model, tokenizer and card; returns the library that opens them."""
    from cl.execution import collect
    from cl.graph.roles import BASE, STATE, TOKENIZER
    from cl.models import exporting, pretrained
    from cl.redaction import redacted
    from cl.reporting.model_card import card

    (run,), store = graph.runs, Store(graph.experiment.store)
    parents = run.rows[row].parents
    missing = [node for node in graph.nodes if not store.has(node)]
    if missing:
        raise UserError(f"export: {len(missing)} nodes of this run are not stored; compute them by: {redacted(typed)}")
    settings = graph.experiment.model
    fresh = pretrained.origin(settings.name) == "fresh"
    base = None if fresh else settings.name
    places = [store.path(parents[role]) for role in (STATE, BASE) if role in parents]
    with quiet(), pretrained.trusting(settings):
        library = exporting.write(
            places[0], places[-1], store.path(parents[TOKENIZER]), folder, merged, base or "the base node of this run"
        )
        result = collect.collect(graph, store, set(), 0.0, redacted(typed))
    (folder / "README.md").write_text(card(replace(result, executed=0), row, library, base), encoding="utf-8")
    return library


def _upload(folder: Path, name: str) -> str:
    """Upload a folder as a private model repository; returns its address.

    Raises:
        UserError: if the hub refuses it or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api = HfApi()
        api.create_repo(name, private=True, exist_ok=True)
        found = api.upload_folder(repo_id=name, folder_path=str(folder), commit_message="Exported by cl")
    except (HfHubHTTPError, ValueError, OSError) as error:
        told = " ".join(str(error).split())
        raise UserError(f"--to: {HUB}{name}: {told}; log in by `hf auth login`, or export to a folder") from error
    return str(found)
