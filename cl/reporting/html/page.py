"""The report page: one self-contained HTML file."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import plotly.io
import plotly.offline
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from cl.metrics.records import DataResult, ExperimentResult
from cl.reporting.formatting import abbreviated, duration, plain, significant, thousands
from cl.reporting.html import gates
from cl.reporting.html.groups import Group, any_shared, groups
from cl.reporting.html.headline import headline
from cl.reporting.html.memories import COLUMNS, memory_rows
from cl.reporting.html.style import SHARED
from cl.reporting.html.table import strategies
from cl.reporting.html.transitions import rows, shown

HERE = Path(__file__).parent
PLOTLY_CONFIG = {"displayModeBar": False, "responsive": True, "scrollZoom": False, "doubleClick": False}
COUNTS = ("documents", "tokens", "bytes")


def write(result: ExperimentResult, made: Mapping[str, go.Figure], path: Path) -> None:
    """Write the report, about 5 MB, nearly all of it plotly.js, which is inlined once.

    The page reads nothing from the network or from other files and can be mailed, archived and printed.

    Args:
        result: result of the experiment.
        made: its pictures, see `figures`.
        path: file of the page.
    """
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    environment.filters.update(abbreviated=abbreviated, duration=duration, plain=plain,
                               significant=significant, thousands=thousands)  # fmt: skip
    every = groups(result)
    html = environment.get_template("report.html.j2").render(
        result=result,
        groups=every,
        shared=SHARED if any_shared(every) else None,
        headline=coloured(headline(result), every),
        table=strategies(result),
        transitions=rows(every),
        shown=shown,
        pictures={name: embed(name, figure) for name, figure in made.items()},
        gates=gates.lines(result),
        gate_columns=gates.COLUMNS,
        seeds=sorted({run.seed for run in result.runs}),
        warnings=list(dict.fromkeys(text for run in result.runs for text in run.warnings)),
        memory_columns=COLUMNS,
        memory_rows=memory_rows(every),
        splits=data_rows(result.data),
        config=json.dumps(result.config, indent=2),
        plotly=Markup(plotly.offline.get_plotlyjs()),
    )
    path.write_text(html, encoding="utf-8")


def write_beside(template: str, path: Path, filters: Mapping[str, Callable[..., str]], **values: Any) -> None:
    """Write the self-contained page of a command other than `cl run`.

    Args:
        template: name of the Jinja template.
        path: file of the page.
        filters: filters of the template.
        values: values of the template; `question` is the title.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters.update(filters)
    html = environment.get_template(template).render(plotly=Markup(plotly.offline.get_plotlyjs()), **values)
    path.write_text(html, encoding="utf-8")


def write_figures(made: Mapping[str, go.Figure], folder: Path) -> None:
    """Write each figure as a small page of its own into `folder`; the pages share one copy of plotly.js."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in made.items():
        file = folder / f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)}.html"
        figure.write_html(file, include_plotlyjs="directory", config=PLOTLY_CONFIG)


def coloured(sentence: str, every: list[Group]) -> Markup:
    """The sentence as HTML, with each strategy's name in its colour."""
    html = str(escape(sentence))
    for group in every:
        label = re.escape(str(escape(group.label)))
        html = re.sub(rf"(?<!\w){label}(?!\w)", f'<b style="color:{group.colour}">{escape(group.label)}</b>', html)
    return Markup(html)


def data_rows(data: Mapping[str, DataResult]) -> list[tuple[str, str, dict[str, int | None], dict[str, Any]]]:
    """Rows (data set, split, counts, facts), one per split; the facts of a set are in the row of its first split."""
    rows: list[tuple[str, str, dict[str, int | None], dict[str, Any]]] = []
    for name, entry in data.items():
        known = dataclasses.asdict(entry)
        facts = {key: value for key, value in known.items() if key not in COUNTS and value not in (None, "")}
        for i, split in enumerate(entry.documents):
            counts = {key: known[key].get(split) for key in COUNTS}
            rows.append((name if i == 0 else "", split, counts, facts if i == 0 else {}))
    return rows


def embed(name: str, figure: go.Figure) -> Markup:
    """A figure as a <div> with its data; small curves have no legend, because the page has a colour key."""
    content = figure.to_dict()
    if name.startswith("curve/") or name == "learning_rate":
        content["layout"]["showlegend"] = False
    identity = re.sub(r"\W+", "-", name)
    html = plotly.io.to_html(
        content, validate=False, full_html=False, include_plotlyjs=False, config=PLOTLY_CONFIG, div_id=identity
    )
    return Markup(html)
