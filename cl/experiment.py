"""The experiment file: what is compared, on which scenario, with which model and budget.

An experiment is YAML; every value can be replaced on the command line (`--train.lr=1e-3`,
`--tokens.german=200000`). Types are checked by jsonargparse; unknown keys are errors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cl import catalog
from cl.errors import UserError
from cl.settings import Checkpoints, Evaluation, Model, Tracking, Train


@dataclass(frozen=True)
class Experiment:
    """Runs that are compared: strategies x seeds x orders.

    Args:
        name: of the experiment, in MLflow and in the store.
        question: what it asks; the title of the report.
        scenario: name or YAML path.
        model: which model.
        tokens: training tokens per task: one number, or one by task.
        strategies: by label: settings on top of a named strategy. `from: NAME` names it where the label does
            not; a method's name holds settings that replace its own.
        strategy: by method name: settings for every strategy above that has the method.
        seeds: each makes its own runs; a seed sets initial weights and reading order.
        orders: task orders as lists of names; by default the scenario's.
        train: how stages are trained.
        evaluation: what is measured.
        checkpoints: when unfinished work is saved.
        tracking: where it is logged.
        store: folder or fsspec URL of the node store.
        output: folder of reports; each experiment has its own folder there.
    """

    name: str
    scenario: str
    model: Model
    tokens: int | dict[str, int]
    strategies: dict[str, dict[str, Any] | None]
    strategy: dict[str, dict[str, Any]] = field(default_factory=dict)
    question: str = ""
    seeds: list[int] = field(default_factory=lambda: [0])
    orders: list[list[str]] | None = None
    train: Train = field(default_factory=Train)
    evaluation: Evaluation = field(default_factory=Evaluation)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    tracking: Tracking = field(default_factory=Tracking)
    store: str = "store"
    output: str = "results"


def load(name: str, overrides: list[str] | None = None) -> Experiment:
    """Read an experiment by name or path and apply `--key=value` overrides.

    `--strategy.METHOD.SETTING=V` sets it in every strategy that has the method; `--strategies.LABEL.…` in one.
    Raises UserError for anything unknown or of the wrong type.
    """
    raw = catalog.read("experiments", name)
    raw.setdefault("name", Path(name).stem)
    for override in overrides or []:
        _apply(raw, override)
    return parse(raw)


def parse(raw: dict[str, Any]) -> Experiment:
    """Build an experiment from plain data, with types checked. Raises UserError in one line."""
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    known = parser.add_class_arguments(Experiment)
    for key in _leaves(raw):
        if key.split(".")[0] not in {name.split(".")[0] for name in known}:
            raise UserError(catalog.unknown("experiment: key", key, {name.split(".")[0] for name in known}))
    try:
        values = parser.instantiate(parser.parse_object(raw)).as_dict()
    except ArgumentError as error:
        raise UserError(f"experiment: {' '.join(str(error).split())}") from error
    experiment = Experiment(**values)
    if not experiment.strategies:
        raise UserError("strategies: is empty; list at least one (`cl list strategies` names them)")
    return experiment


def _leaves(raw: Any, prefix: str = "") -> list[str]:
    """Dotted paths of all values in nested mappings."""
    if not isinstance(raw, dict):
        return [prefix]
    return [leaf for key, value in raw.items() for leaf in _leaves(value, f"{prefix}.{key}" if prefix else str(key))]


def _apply(raw: dict[str, Any], override: str) -> None:
    """Set one `--key.sub=value` in nested plain data."""
    match = re.fullmatch(r"--([\w.\-]+)=(.*)", override, re.DOTALL)
    if match is None:
        raise UserError(f"{override}: not understood; settings are given as --key.sub=value")
    *path, last = match[1].split(".")
    here = raw
    for name in path:
        if here.get(name) is None:
            here[name] = {}
        here = here[name]
        if not isinstance(here, dict):
            raise UserError(f"--{match[1]}: {name} is {here!r}, which has no settings of its own")
    here[last] = _value(match[2])


def _value(text: str) -> Any:
    """A value of the command line as YAML reads it, and 1e-3 as the number that it is."""
    if re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", text):
        return float(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
