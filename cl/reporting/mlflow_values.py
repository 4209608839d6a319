"""The values sent to MLflow, as plain data, and the record of deliveries."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cl.metrics import run_metrics
from cl.metrics.records import ExperimentResult, Point, RunResult


@dataclass
class Delivered:
    """The delivered part of a run.

    Args:
        run_id: id of the MLflow run.
        steps: last delivered step by node key.
    """

    run_id: str
    steps: dict[str, int] = field(default_factory=dict)


class Deliveries:
    """Deliveries by run key, in one JSON file per tracking server.

    Args:
        path: the JSON file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        raw = json.loads(path.read_text()) if path.exists() else {}
        self.runs = {key: Delivered(**entry) for key, entry in raw.items()}

    def save(self) -> None:
        """Write the file at once, so that nothing is sent twice after a crash."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({key: vars(entry) for key, entry in self.runs.items()}))
        new.replace(self.path)


def point_metrics(point: Point) -> dict[str, float]:
    """A point of the curve as metrics by name."""
    found: dict[str, float] = {"seconds": point.seconds}
    found |= {name: value for name in ("loss", "lr", "grad_norm") if (value := getattr(point, name)) is not None}
    found |= {f"validation/{name}/loss": value for name, value in point.scores.items()}
    found |= {f"term/{name}": value for name, value in point.terms.items()}
    total = sum(point.seen.values())
    found |= {f"share/{name}": count / total for name, count in point.seen.items() if total}
    return {safe_name(name): value for name, value in found.items()}


def final_metrics(run: RunResult, retain: list[str]) -> list[tuple[str, float, int]]:
    """R and the metrics of a run as (name, value, tokens of the stream)."""
    ends = {stage.row: stage.offset + stage.tokens for stage in run.stages if stage.row is not None}
    found = []
    for t, row in run.matrix.items():
        for name, cell in row.items():
            for measure in ("loss", "bits_per_byte", "perplexity"):
                found.append((f"R/{name}/{measure}", getattr(cell, measure), ends.get(t, 0)))
            found += [(f"R/{name}/{score}", value, ends.get(t, 0)) for score, value in cell.scores.items()]
    for label, rows in run.probes.items():
        for t, sets in rows.items():
            for name, values in sets.items():
                found += [(f"probe/{label}/{name}/{key}", value, ends.get(t, 0)) for key, value in values.items()]
    last = max(ends.values(), default=0)
    return [*found, *((key, value, last) for key, value in metrics_of(run, retain).items())]


def metrics_of(run: RunResult, retain: list[str]) -> dict[str, float]:
    """The defined metrics of a run by key; MLflow cannot store a reason, so undefined ones are left out."""
    found = [*run_metrics.every(run, retain).values(), run_metrics.peak(run)]
    if run_metrics.scored(run):
        found += run_metrics.scores(run, retain=retain).values()
    return {metric.key: metric.value for metric in found if not math.isnan(metric.value)}


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
