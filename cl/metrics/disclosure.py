"""The disclosure record of a comparison: everything that a reader needs to judge it. Unknown fields are "omitted".

Fields after 2509.18868, adapted: data and its overlap, model and decoding, budgets, selection of hyperparameters,
conventions of the metrics, hardware, and limitations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import yaml

from cl.metrics.answer_tests import ItemContrast
from cl.metrics.catalog import find
from cl.metrics.comparison_result import UNITS, Comparison
from cl.metrics.records import DataResult, ExperimentResult

OMITTED = "omitted"


def record(
    result: ExperimentResult, found: Comparison, selection: str | None = None, single: Sequence[ItemContrast] = ()
) -> dict[str, Any]:
    """The record as plain data.

    Args:
        result: the experiment.
        found: its comparison.
        selection: how hyperparameters were chosen; None if that is unknown.
        single: tests of single answers.
    """
    config = result.config
    evaluation = config["evaluation"]
    return {
        "experiment": result.name,
        "command": result.command,
        "scenario": f"{result.scenario} v{result.scenario_version}",
        "data": {name: _data(entry) for name, entry in result.data.items()},
        "model": {"name": result.model, "parameters": result.parameters, "checkpoint": config["model"]["revision"]},
        "decoding": "greedy" if evaluation["items"] else OMITTED,
        "evaluation": {key: evaluation.get(key, OMITTED) for key in ("split", "tokens", "items", "batch")},
        "seeds": sorted({run.seed for run in result.runs}),
        "orders": sorted({" > ".join(run.order) for run in result.runs}),
        "budgets": {"tokens": config["tokens"], "examples": config["examples"]},
        "train": config["train"],
        "strategies": {f"{run.strategy}, {' > '.join(run.order)}": run.settings for run in result.runs},
        "hyperparameter_selection": selection or OMITTED,
        "values_in_place_of_these": (config.get("tuned") or {}).get("values", OMITTED),
        "tests": {
            "unit": UNITS[found.unit],
            "units": len(found.units),
            "family": [f"{one.metric}: {one.a} - {one.b}" for one in found.contrasts],
            "test": "two-sided sign-flip (exact up to 20 units), Holm over the family",
            "alpha": found.alpha,
            "power": found.power,
            "single_answers": [one.sentence for one in single] or OMITTED,
        },
        "conventions": conventions(found),
        "averages": "macro: mean of task values",
        "hardware": {key: result.environment.get(key, OMITTED) for key in ("processor", "device", "precision")},
        "versions": {k: v for k, v in result.environment.items() if k not in ("processor", "device", "precision")},
        "cost": [dataclasses.asdict(cost) for cost in found.costs],
        "retrieval": OMITTED,
        "human_rating": OMITTED,
        "limitations": OMITTED,
    }


def conventions(found: Comparison) -> dict[str, str]:
    """Formula, unit, direction and source of each compared metric, as it declares them."""
    metrics = {key: find(key) for key in found.standings}
    return {
        key: f"{one.description} In {one.unit}, {one.better} is better. Source: {one.source}"
        for key, one in metrics.items()
    }


def text(record: dict[str, Any]) -> str:
    """The record as YAML."""
    return yaml.safe_dump(record, sort_keys=False, width=110, allow_unicode=True)


def _data(entry: DataResult) -> dict[str, Any]:
    fields = ("documents", "tokens", "overlap", "duplicates", "held_out", "sources", "licence", "fingerprint")
    return {key: OMITTED if getattr(entry, key) is None else getattr(entry, key) for key in fields}
