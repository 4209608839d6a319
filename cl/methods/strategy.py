"""Strategies: named, ordered lists of methods, read from YAML and changed by an experiment's settings."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cl import registry
from cl.errors import UserError
from cl.methods.method import Method, Stage

KEYS = ("summary", "paper", "keeps", "methods")  # of a strategy's file
# Hooks that act while a node is trained. A method that overrides none of them acts on the graph alone, and
# its effect (shares, parents, carried state) is in the key instead of the method itself.
TRAINING_HOOKS = (
    *(
        "schedule",
        "remember",
        "prepare",
        "survey",
        "takes",
        "loss_terms",
        "token_terms",
        "step_terms",
        "after_backward",
    ),
    *("tensors", "load"),
)


@dataclass(frozen=True)
class Part:
    """A method of a strategy with the name and settings it was built from."""

    name: str
    settings: dict[str, Any]
    method: Method

    @property
    def trains(self) -> bool:
        """Whether the method acts inside a train node, and so belongs to its key."""
        return any(getattr(type(self.method), hook) is not getattr(Method, hook) for hook in TRAINING_HOOKS)

    @property
    def transforms(self) -> bool:
        """Whether the method changes examples, and so belongs to the key of the data."""
        return type(self.method).transform is not Method.transform

    def acts(self, stage: Stage) -> bool:
        """Whether the method acts in a stage at all."""
        return type(self.method).phase == stage.phase and self.method.active(stage.t)

    def choice_spec(self) -> dict[str, Any]:
        """The settings that change which examples the method chooses."""
        return {self.name: {key: self.settings[key] for key in type(self.method).choice_settings}}

    def spec(self) -> dict[str, Any]:
        """The part as JSON data, for keys and records."""
        return {self.name: self.settings}

    def data_spec(self) -> dict[str, Any]:
        """What decides the examples that the method makes, for the key of the data."""
        return {self.name: self.method.data_key(self.settings)}

    def stage_spec(self, t: int) -> dict[str, Any]:
        """The settings that act in stage t, for its key; the others are left to their defaults."""
        inert = self.method.inert(t)
        return {self.name: {key: value for key, value in self.settings.items() if key not in inert}}

    def memory_spec(self) -> dict[str, Any]:
        """The settings that change what the method remembers."""
        return {self.name: {key: self.settings[key] for key in type(self.method).memory_settings}}


@dataclass(frozen=True)
class Strategy:
    """An ordered list of methods under one label."""

    label: str
    summary: str
    paper: str
    parts: list[Part]

    @property
    def warnings(self) -> list[str]:
        """Sentences about degenerate settings."""
        return [f"{self.label}: {part.name}: {text}" for part in self.parts for text in part.method.warnings()]

    def like(self, part: Part, *others: Strategy) -> Part:
        """The part at the place that `part` has in one of the others: the same method with this strategy's settings."""
        places = [at for of in (self, *others) for at, each in enumerate(of.parts) if each is part]
        return self.parts[places[0]]

    def active(self, stage: Stage) -> list[Part]:
        """The parts that act inside the train node of a stage."""
        return [part for part in self.parts if part.trains and part.acts(stage)]


def build_part(name: str, settings: Mapping[str, Any] | None, where: str) -> Part:
    """A method by name with its settings, defaults included, so that one written out changes no key.

    Raises UserError for an unknown name, setting or type.
    """
    given = dict(settings or {})
    method = registry.build("methods", name, given, where)
    if not isinstance(method, Method):
        raise UserError(f"{where}: {name} is not a cl.methods.method.Method")
    parameters = inspect.signature(type(method)).parameters
    defaults = {key: p.default for key, p in parameters.items() if p.default is not p.empty}
    return Part(name, defaults | given, method)


def build(label: str, changes: Mapping[str, Any] | None = None, shared: Mapping[str, Any] | None = None) -> Strategy:
    """The strategy that an experiment lists under `label`.

    changes: `from: NAME` and settings by method name, replacing single settings of the named strategy;
    shared: settings by method name for all strategies that have the method. Where a method is listed twice
    (first task, later tasks), both go to its last entry. Raises UserError for a method that the strategy does
    not have.
    """
    changes = dict(changes or {})
    name = changes.pop("from", label)
    raw = registry.read("strategies", name)
    if unknown := sorted(set(raw) - set(KEYS)):
        raise UserError(registry.unknown(f"strategy {name}: key", unknown[0], KEYS))
    listed = [_single(entry, name) for entry in raw.get("methods") or []]
    last = {method: index for index, (method, _) in enumerate(listed)}
    for method, settings in changes.items():
        if method not in last:
            raise UserError(registry.unknown(f"strategies.{label}: method", method, last))
        _mapping(settings, f"strategies.{label}.{method}")
    parts = []
    for index, (method, settings) in enumerate(listed):
        extra = (changes.get(method) or {}) | (shared or {}).get(method, {}) if last[method] == index else {}
        parts.append(build_part(method, settings | extra, f"strategies.{label}.{method}"))
    for part in parts:
        try:
            part.method.check([other.method for other in parts if other is not part])
        except UserError as error:
            raise UserError(f"strategies.{label}: {part.name}: {error}") from error
    return Strategy(label, str(raw.get("summary", "")), str(raw.get("paper", "")), parts)


def _single(entry: Any, strategy: str) -> tuple[str, dict[str, Any]]:
    if isinstance(entry, str):
        return entry, {}
    if isinstance(entry, dict) and len(entry) == 1:
        ((name, settings),) = entry.items()
        return str(name), _mapping(settings, f"strategy {strategy}: methods: {name}")
    raise UserError(f"strategy {strategy}: methods: {entry!r} must be a name or one `name: settings` pair")


def _mapping(settings: Any, where: str) -> dict[str, Any]:
    if settings is not None and not isinstance(settings, dict):
        raise UserError(f"{where}: {settings!r} must be settings as `key: value`")
    return dict(settings or {})
