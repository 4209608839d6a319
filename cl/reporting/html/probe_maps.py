"""Heat maps of probes whose data sets are cells of a design, such as copies by phase."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import plotly.graph_objects as go

from cl.metrics.records import Measure, RunResult
from cl.reporting.formatting import abbreviated
from cl.reporting.html.groups import Group, mean
from cl.reporting.html.style import TWO_SIDED, empty

Place = tuple[float, float]


def probe_maps(every: Sequence[Group], label: str, measures: Sequence[Measure]) -> dict[str, go.Figure]:
    """Heat maps by name `LABEL/KEY/AXIS/GROUP`: of each measure with axes, for each pair of them and each group.

    A value is the rise since before training, a mean over seeds. Where both axes are words in the names of data sets,
    it is that of the last row; where one is a measure, such as an age, all rows have a place. The groups of a measure
    share their colours. A run without a row before training has no rise, and so no map.
    """
    units, made = {each.key: each.unit for each in measures}, {}
    for measure, pair in [(each, pair) for each in measures for pair in each.axes]:
        found = {group.label: _rises(group, label, measure.key, pair, units) for group in every}
        reach = max((abs(value) for cells in found.values() for value in cells.values()), default=0.0)
        for name, cells in found.items():
            if cells:
                title = f"{name}: {measure.key} by {' and '.join(pair)}"
                figure = _map(cells, pair, title, f"rise in {measure.unit}", reach)
                made[f"{label}/{measure.key}/{pair[1]}/{name}"] = figure.update_xaxes(title=_title(pair[1], units))
    return made


def _title(axis: str, units: Mapping[str, str]) -> str:
    return f"{axis}, {units[axis]}" if axis in units else axis


def _rises(
    group: Group, label: str, key: str, pair: tuple[str, str], measured: Mapping[str, str]
) -> dict[Place, float]:
    """Rise of a measure since the first row by place in a map, mean over data sets and seeds with this place."""
    found: dict[Place, list[float]] = {}
    for run in group.runs:
        for place, rise in _of_run(run, label, key, pair, every=any(axis in measured for axis in pair)):
            found.setdefault(place, []).append(rise)
    return {place: mean(values) for place, values in found.items()}


def _of_run(run: RunResult, label: str, key: str, pair: tuple[str, str], every: bool) -> Iterator[tuple[Place, float]]:
    rows = run.probes.get(label, {})
    first, *later = sorted(rows) or [0]
    for t in later if every else later[-1:]:
        for name, values in rows[t].items():
            before = rows[first].get(name, {}).get(key)
            one, other = (_coordinate(name, values, axis) for axis in pair)
            if before is not None and key in values and one is not None and other is not None:
                yield (one, other), values[key] - before


def _coordinate(name: str, values: Mapping[str, float], axis: str) -> float | None:
    """Place of a data set on an axis: the number behind the word in its name, or the value of the measure."""
    found = re.search(rf"\b{re.escape(axis)} (\d+)\b", name)
    return float(found[1]) if found else values.get(axis)


def _map(cells: Mapping[Place, float], pair: tuple[str, str], title: str, unit: str, reach: float) -> go.Figure:
    """One heat map, the first axis upwards; places are categories, because they are seldom evenly spaced."""
    down, right = (sorted({place[axis] for place in cells}) for axis in (0, 1))
    figure = empty(title, unit, 130 + 44 * len(down))
    figure.add_heatmap(
        z=[[cells.get((y, x)) for x in right] for y in down],
        x=[abbreviated(x) for x in right],
        y=[abbreviated(y) for y in down],
        colorscale=TWO_SIDED,
        zmin=-reach,
        zmax=reach,
        texttemplate="%{z:.2f}",
        xgap=3,
        ygap=3,
        showscale=False,
        hovertemplate=f"{pair[0]} %{{y}}, {pair[1]} %{{x}}: %{{z:.4f}}<extra></extra>",
    )
    figure.update_xaxes(type="category", ticks="")
    figure.update_yaxes(type="category", ticks="", showgrid=False, title=pair[0])
    return figure.update_layout(hovermode="closest", margin={"b": 56})
