"""The experiment file: what is compared, on which scenario, with which model and budget.

An experiment is YAML; every value can be replaced on the command line (`--train.lr=1e-3`,
`--tokens.german=200000`). Types are checked by jsonargparse; unknown keys are errors.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from cl import catalog, space
from cl.command_settings import Compare, SampleOrder, Tune, Tuned
from cl.errors import UserError
from cl.results import flat
from cl.settings import Checkpoints, Cluster, Evaluation, Model, Tracking, Train
from cl.space import Range


@dataclass(frozen=True)
class Experiment:
    """Runs that are compared: strategies x seeds x orders.

    Args:
        name: of the experiment, in MLflow and in the store; by default that of the file.
        question: what it asks; the title of the report.
        scenario: name or YAML path.
        model: which model.
        strategies: by label: settings on top of a named strategy. `from: NAME` names it where the label does
            not; a method's name holds settings that replace its own.
        tokens: training tokens of each task of text: one number, or one by task.
        examples: training examples of each instruction task, repetitions counted: one number, or one by task.
        strategy: by method name: settings for every strategy above that has the method, whatever its entry says.
        by_task: settings that hold while one task is learned, as `german: {train: {lr: 1.0e-4}}`: of `train` the rates
            and bounds, of `strategy` and `strategies` what acts inside training or mixes data.
        seeds: each makes its own runs; a seed sets initial weights and reading order.
        orders: task orders: each one's name in the scenario, or a list of its tasks; or `all`, `latin_square`, or
            `{sample: N, seed: S}`, N drawn at random; by default the scenario's own.
        train: how stages are trained.
        evaluation: what is measured.
        checkpoints: when unfinished work is saved.
        order: what `cl order` estimates, and how.
        compare: what `cl compare` tests.
        tune: how `cl tune` chooses hyperparameters.
        tuned: what it chose: path of its tuned.yaml; each strategy and order then has its own values.
        upto: run only so many leading tasks of each order.
        tracking: where it is logged.
        launcher: where nodes are executed: `local`, in this process; `ray`, on a cluster; `slurm`, as jobs.
        cluster: what `ray` and `slurm` run on.
        store: folder or fsspec URL of the node store.
        output: folder of reports; each experiment has its own folder there.
    """

    name: str
    scenario: str
    model: Model
    strategies: dict[str, dict[str, Any] | None]
    tokens: int | dict[str, int] = field(default_factory=dict)
    examples: int | dict[str, int] = field(default_factory=dict)
    strategy: dict[str, dict[str, Any]] = field(default_factory=dict)
    by_task: dict[str, dict[str, Any]] = field(default_factory=dict)
    question: str = ""
    seeds: list[int] = field(default_factory=lambda: [0])
    orders: list[list[str] | str] | Literal["all", "latin_square"] | dict[str, int] | None = None
    train: Train = field(default_factory=Train)
    evaluation: Evaluation = field(default_factory=Evaluation)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    order: SampleOrder = field(default_factory=SampleOrder)
    compare: Compare = field(default_factory=Compare)
    tune: Tune = field(default_factory=Tune)
    tuned: Tuned | None = None
    upto: int | None = None
    tracking: Tracking = field(default_factory=Tracking)
    launcher: Literal["local", "ray", "slurm"] = "local"
    cluster: Cluster = field(default_factory=Cluster)
    store: str = "store"
    output: str = "results"

    def __post_init__(self) -> None:
        for key, name in (("name", self.name), *(("strategies", label) for label in self.strategies)):
            if not re.fullmatch(r"\w[\w.\-]*", name):
                raise UserError(f"{key}: {name!r} names files and may hold letters, digits, _ - and . only")
        if not self.strategies:
            raise UserError("strategies: is empty; list at least one (`cl list strategies` names them)")
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"seeds: {self.seeds} must be different whole numbers of at least 0, one or more")
        if self.upto is not None and self.upto < 1:
            raise UserError(f"upto: {self.upto} must be at least 1; leave it out for the whole stream")
        if self.upto is not None and self.tuned is not None:
            raise UserError("upto: values were chosen for whole orders; leave upto or tuned out")
        if self.orders == []:
            raise UserError("orders: is empty; leave it out for the scenario's own order")
        if isinstance(self.orders, dict) and ("sample" not in self.orders or self.orders.keys() - {"sample", "seed"}):
            raise UserError(f"orders: {self.orders} is not understood; write {{sample: N}} or {{sample: N, seed: S}}")
        if isinstance(self.orders, list) and len(set(map(str, self.orders))) < len(self.orders):
            raise UserError(f"orders: {self.orders} holds one order twice; remove one")


def made_for(experiment: Experiment) -> dict[str, Any]:
    """Scenario, model and budgets: what hyperparameters are chosen for."""
    given = {"tokens": experiment.tokens, "examples": experiment.examples}
    return {"scenario": Path(experiment.scenario).stem, "model": experiment.model.name, **given}


def notes(experiment: Experiment) -> list[str]:
    """Sentences that every output says: how hyperparameters were chosen, and for what."""
    tuned = experiment.tuned
    return tuned.notes(list(experiment.strategies), made_for(experiment)) if tuned else []


def load(name: str, overrides: list[str] | None = None) -> Experiment:
    """Read an experiment by name or path and apply `--key=value` overrides.

    `--strategy.METHOD.SETTING=V` sets it in every strategy that has the method; `--strategies.LABEL.…` in one.
    Raises UserError for anything unknown or of the wrong type.
    """
    return parse(read(name, overrides)[0])


def read(name: str, overrides: list[str] | None = None) -> tuple[dict[str, Any], dict[str, Range]]:
    """An experiment as plain data, and the ranges that stand in it next to their values, by dotted key."""
    raw = catalog.read("experiments", name)
    raw.setdefault("name", Path(name).stem)
    folder = catalog.path_of("experiments", name).parent
    for holder in (raw, raw.get("tune")):
        beside = folder / str(holder.get("scenario") if isinstance(holder, dict) else None)
        if isinstance(holder, dict) and beside.suffix == ".yaml" and beside.is_file():  # relative to the file
            holder["scenario"] = str(beside)
    keys = [_apply(raw, override) for override in overrides or []]
    if isinstance(raw.get("tuned"), str):
        raw["tuned"] = _tuned(raw["tuned"], keys)
    return space.extract(raw)


def _tuned(path: str, given: list[str]) -> Any:
    """What `cl tune` wrote. Raises UserError where it is none, or where a chosen value is given on the command line."""
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"tuned: {path!r} cannot be read: {error}; `cl tune` writes one") from error
    if not isinstance(found, dict) or not found.get("values"):
        raise UserError(f"tuned: {path!r} holds no values; `cl tune` writes a tuned.yaml")
    chosen = {key for orders in found["values"].values() for values in orders.values() for key in _keys(values)}
    if both := sorted(chosen & set(given)):
        raise UserError(f"--{both[0]}: was chosen in {path} as well, which would win; leave one of the two out")
    return found


def _keys(values: Mapping[str, Any]) -> set[str]:
    """Dotted keys of chosen values, also of those for single tasks."""
    alone = {key for own in values.get("by_task", {}).values() for key in flat(own)}
    return (values.keys() - {"by_task"}) | alone


def replaced(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """The experiment with other values at some dotted keys. Raises UserError as `load` does."""
    raw = dataclasses.asdict(experiment)
    for key, value in values.items():
        put(raw, key, value)
    return parse(raw)


def parse(raw: dict[str, Any]) -> Experiment:
    """Build an experiment from plain data, with types checked. Raises UserError in one line."""
    from jsonargparse import ArgumentError, ArgumentParser

    _check_keys(raw, Experiment, "")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Experiment)
    try:
        values = parser.instantiate(parser.parse_object(raw)).as_dict()
    except ArgumentError as error:
        raise UserError(_explain(raw, str(error))) from error
    return Experiment(**values)


@dataclass(frozen=True)
class Setting:
    """One value of an experiment: its dotted key, its type in words, its default (None: has none), what it does."""

    key: str
    type: str
    default: str | None
    about: str


def settings(group: type = Experiment, prefix: str = "") -> list[Setting]:
    """All settings of an experiment, as their dataclasses and docstrings say."""
    from docstring_parser import parse as parse_docstring

    types = get_type_hints(group)
    about = {entry.arg_name: entry.description or "" for entry in parse_docstring(group.__doc__ or "").params}
    found = []
    for each in dataclasses.fields(group):
        wanted = types[each.name]
        if isinstance(wanted, type) and dataclasses.is_dataclass(wanted):
            found += settings(wanted, f"{prefix}{each.name}.")
            continue
        default = each.default_factory() if callable(each.default_factory) else each.default
        text = None if default is dataclasses.MISSING else "not set" if default is None else str(default)
        found.append(Setting(prefix + each.name, _words(wanted), text, " ".join(about[each.name].split())))
    return found


def _words(hint: Any) -> str:
    """A type as a person says it: `int or none`, `list of str`, `auto or fp32 or bf16`."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType, Literal):
        return " or ".join(str(part) if origin is Literal else _words(part) for part in parts)
    if origin in (list, tuple):
        return f"list of {', '.join(map(_words, parts))}"
    return {NoneType: "none", dict: "mapping"}.get(origin or hint) or str(hint.__name__)


def _check_keys(raw: Mapping[str, Any], group: type, prefix: str) -> None:
    types = get_type_hints(group)
    for key, value in raw.items():
        if key not in types:
            name = _first_leaf(f"{prefix}{key}", value)
            known = [setting.key for setting in settings()]
            close = [k for k in known if k.endswith(f".{name}")] or difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise UserError(f"{name}: an experiment has no such setting{hint} (`cl run --help` lists all)")
        if value is None and NoneType not in get_args(types[key]):  # jsonargparse takes it for any type
            raise UserError(f"{prefix}{key}: is empty; give a value or remove the key")
        if dataclasses.is_dataclass(types[key]):
            if not isinstance(value, dict):
                raise UserError(f"{prefix}{key}: must hold settings as `key: value`, not {value!r}")
            _check_keys(value, types[key], f"{prefix}{key}.")
        elif isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{prefix}{key}: {value} is not a finite number")


def _first_leaf(name: str, value: Any) -> str:
    while isinstance(value, dict) and value:
        key, value = next(iter(value.items()))
        name = f"{name}.{key}"
    return name


def _explain(raw: Mapping[str, Any], message: str) -> str:
    """Turn jsonargparse's message of several lines into one that names the setting, its value and its type."""
    if missing := re.search(r"arguments are required: ([\w.]+)", message):
        return f"{missing[1]}: is missing; every experiment states it"
    known = {setting.key: setting for setting in settings()}
    match = re.search(r'key "([\w.]+)', message)
    if match is None or match[1] not in known:
        return f"experiment: {' '.join(message.split())}"
    value: Any = raw
    for key in match[1].split("."):
        value = value[key]
    return f"{match[1]}: {value!r} is not of type {known[match[1]].type}"


def _apply(raw: dict[str, Any], override: str) -> str:
    """Set one `--key.sub=value` in nested plain data, and return its key."""
    match = re.fullmatch(r"--([\w.\-]+)=(.*)", override, re.DOTALL)
    if match is None:
        raise UserError(f"{override}: not understood; settings are given as --key=value, with the equals sign")
    put(raw, match[1], _value(match[2]))
    return match[1]


def put(raw: dict[str, Any], key: str, value: Any) -> None:
    """Set the value at a dotted key of nested plain data."""
    *path, last = key.split(".")
    here = raw
    for name in path:
        if here.get(name) is None:
            here[name] = {}
        here = here[name]
        if not isinstance(here, dict):
            raise UserError(f"--{key}: {name} is the value {here!r} in the file and has no parts; replace it whole")
    here[last] = value


def _value(text: str) -> Any:
    """A value of the command line as YAML reads it, with 1e-3 and 2e6 as the numbers that they are."""
    if re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", text):
        number = float(text)
        return int(number) if number.is_integer() else number
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
