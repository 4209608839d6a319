"""The values sent to MLflow, as plain data."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cl.config.nested import flat
from cl.metrics import run_metrics
from cl.metrics.records import ExperimentResult, Point, RunResult


@dataclass(frozen=True)
class Beside:
    """A result that belongs to no single run, such as an order node's; an MLflow run of its own.

    Args:
        name: name of the MLflow run.
        key: key of the result; a result is sent once.
        params: parameters.
        metrics: metrics.
        files: files to upload.
    """

    name: str
    key: str
    params: dict[str, Any]
    metrics: dict[str, float]
    files: list[Path]


def point_metrics(point: Point) -> dict[str, float]:
    """A point of the curve as metrics by name; `seconds` is the last one."""
    found: dict[str, float] = {}
    found |= {name: value for name in ("loss", "lr", "grad_norm") if (value := getattr(point, name)) is not None}
    found |= {f"validation/{name}/loss": value for name, value in point.scores.items()}
    found |= {f"term/{name}": value for name, value in point.terms.items()}
    total = sum(point.seen.values())
    found |= {f"share/{name}": count / total for name, count in point.seen.items() if total}
    found["seconds"] = point.seconds
    return {safe_name(name): value for name, value in found.items()}


def final_metrics(run: RunResult, retain: list[str]) -> list[tuple[str, float, int]]:
    """R and the metrics of a run as (name, value, tokens of the stream; without training, number of tasks)."""
    ends: dict[int, int] = {stage.row: stage.offset + stage.tokens for stage in run.stages if stage.row is not None}
    if not run.stages:  # nothing is trained: rows are told apart by the number of tasks
        ends = {t: t for t in run.matrix}
    found = []
    for t, row in run.matrix.items():
        for name, cell in row.items():
            for measure in ("loss", "bits_per_byte", "perplexity") if not cell.harness else ():
                found.append((f"R/{name}/{measure}", getattr(cell, measure), ends.get(t, 0)))
            found += [(f"R/{name}/{score}", value, ends.get(t, 0)) for score, value in cell.scores.items()]
    for label, rows in run.probes.items():
        for t, sets in rows.items():
            for name, values in sets.items():
                found += [(f"probe/{label}/{name}/{key}", value, ends.get(t, 0)) for key, value in values.items()]
    for t, shown in run.memory.items():
        figures = [(f"memory/{name}/{key}", value) for name, values in shown.items() for key, value in values.items()]
        found += [(name, value, ends.get(t, 0)) for name, value in figures]
    last = max(ends.values(), default=0)
    return [*found, *((key, value, last) for key, value in metrics_of(run, retain).items())]


def metrics_of(run: RunResult, retain: list[str]) -> dict[str, float]:
    """The defined metrics of a run by key; MLflow cannot store a reason, so undefined ones are left out."""
    found = [*run_metrics.every(run, retain).values(), run_metrics.peak(run)]
    if run_metrics.scored(run):
        found += run_metrics.scores(run, retain=retain).values()
    return {metric.key: metric.value for metric in found if not math.isnan(metric.value)}


def run_params(run: RunResult, result: ExperimentResult) -> dict[str, Any]:
    """Parameters of a run: what it is, and its settings by dotted name."""
    settings = {name: result.config[name] for name in ("train", "model", "tokens")}
    return {
        "strategy": run.strategy,
        "seed": run.seed,
        "order": ",".join(run.order),
        "scenario": result.scenario,
        **flat({"methods": numbered(run.settings), **settings}),
        **tuned_values(run, result),
    }


def run_tags(run: RunResult, result: ExperimentResult) -> dict[str, Any]:
    """Tags of a run: its nodes, its data, versions, and the sentences that every output repeats."""
    return {
        **{f"cl.note.{i}": note for i, note in enumerate(result.notes)},
        "cl.scenario_version": result.scenario_version,
        "cl.command": result.command,
        **{f"cl.node.{i}.{s.name}": s.key for i, s in enumerate(run.stages)},
        **{f"cl.row.{t}": key for t, key in run.matrix_keys.items()},
        **{f"cl.data.{name}": entry.fingerprint for name, entry in result.data.items()},
        **{f"cl.version.{name}": value for name, value in result.environment.items()},
    }


def numbered(methods: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Settings by method name; the second use of a method in a strategy is named `NAME.2`."""
    found: dict[str, Any] = {}
    for name, settings in (pair for entry in methods for pair in entry.items()):
        again = sum(other.split(".")[0] == name for other in found)
        found[f"{name}.{again + 1}" if again else name] = settings
    return found


def tuned_values(run: RunResult, result: ExperimentResult) -> dict[str, Any]:
    """The values that `cl tune` chose for a run, by dotted setting; they replace the experiment's values."""
    own = ((result.config.get("tuned") or {}).get("values") or {}).get(run.strategy, {})
    return dict(own.get(" > ".join(run.order), own.get("*", {})))


def safe_name(text: str) -> str:
    """A text with the characters that MLflow refuses in names replaced by `_`."""
    return re.sub(r"[^\w\-. /]", "_", text)
