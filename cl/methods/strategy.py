"""Strategies: named, ordered lists of methods, read from YAML and changed by an experiment's settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cl import construction, registry
from cl.errors import UserError
from cl.methods.method import Method, Stage, Trains, TransformsData
from cl.plain_values import require_plain
from cl.registry import Named

KEYS = ("summary", "paper", "keeps", "methods")  # of a strategy's file


@dataclass(frozen=True)
class Part:
    """A method of a strategy.

    Args:
        name: name of the method.
        settings: all settings, defaults included.
        method: the method built from them.
    """

    name: str
    settings: dict[str, Any]
    method: Method

    @property
    def transforms(self) -> bool:
        """Whether the method transforms examples and is therefore in the key of data nodes."""
        return isinstance(self.method, TransformsData)

    def acts(self, stage: Stage) -> bool:
        """Whether the method acts in a stage."""
        return self.method.phase == stage.phase and self.method.active(stage.t)

    def named(self) -> Named:
        """The method with all its settings."""
        return Named(self.name, self.settings)

    def of_settings(self, names: Iterable[str]) -> Named:
        """The method with some of its settings, such as those that change a memory or a selection."""
        return Named(self.name, {key: self.settings[key] for key in names})

    def data_settings(self) -> dict[str, Any]:
        """The settings that decide how the method transforms examples."""
        return self.method.data_key(self.settings) if isinstance(self.method, TransformsData) else {}

    def in_stage(self, t: int) -> Named:
        """The method with the settings that have an effect in stage t; others keep their defaults."""
        inactive = self.method.inactive_settings(t)
        return self.of_settings(key for key in self.settings if key not in inactive)


@dataclass(frozen=True)
class Strategy:
    """An ordered list of methods under one label.

    Args:
        label: name in the experiment.
        summary: one sentence from the strategy's file.
        paper: source of the strategy.
        parts: the methods in order.
        warnings: sentences about settings that make a method degenerate.
    """

    label: str
    summary: str
    paper: str
    parts: list[Part]
    warnings: list[str] = field(default_factory=list)

    def like(self, part: Part, *others: Strategy) -> Part:
        """The part of this strategy at the position that `part` has in this or another strategy.

        Args:
            part: a part of this strategy or of one of `others`.
            others: strategies with the same methods and other settings.
        """
        places = [at for of in (self, *others) for at, each in enumerate(of.parts) if each is part]
        return self.parts[places[0]]

    def active(self, stage: Stage) -> list[Part]:
        """The parts that act inside the train node of a stage."""
        return [part for part in self.parts if isinstance(part.method, Trains) and part.acts(stage)]


def build_part(name: str, settings: Mapping[str, Any] | None, where: str) -> Part:
    """Build a method by name. Its settings include defaults, so that writing out a default changes no key.

    Args:
        name: name of the method.
        settings: settings that replace defaults.
        where: place of the settings, for messages.

    Raises:
        UserError: for an unknown name or setting, or a value of a wrong type.
    """
    given = dict(settings or {})
    method = construction.build("methods", name, given, where)
    if not isinstance(method, Method):
        raise UserError(f"{where}: {name} is not a cl.methods.method.Method")
    if not construction.shows_settings(type(method)):
        raise UserError(f"{where}: {name} is not a dataclass, whose fields are its settings; add @dataclass(eq=False)")
    return Part(name, construction.settings_of(method), method)


def build_method(named: Named, where: str) -> Method:
    """Build a method from its name and settings, for the node `where`."""
    return build_part(named.name, named.settings, f"{where}.{named.name}").method


def build(label: str, changes: Mapping[str, Any] | None = None, shared: Mapping[str, Any] | None = None) -> Strategy:
    """Build the strategy that an experiment lists under `label`.

    If a strategy lists a method twice (first task, later tasks), `changes` and `shared` apply to its last entry.

    Args:
        label: name in the experiment; also the name of the strategy, unless `changes` has `from`.
        changes: `from: NAME`, and settings by method name that replace single settings of the named strategy.
        shared: settings by method name for all strategies that have the method; they win over `changes`.

    Raises:
        UserError: for a method that the strategy does not have, and for a setting that a method refuses.
    """
    changes = dict(changes or {})
    name = changes.pop("from", label)
    if not isinstance(name, str):
        raise UserError(
            f"strategies.{label}.from: {name!r} must be the name of a strategy, or the path of its YAML file"
        )
    raw = registry.read("strategies", name)
    if unknown := sorted(set(raw) - set(KEYS)):
        raise UserError(registry.unknown(f"strategy {name}: key", unknown[0], KEYS))
    if not isinstance(raw.get("methods") or [], list):
        raise UserError(f"strategy {name}: methods: {raw['methods']!r} must be a list of methods, each `- NAME`")
    for key in ("summary", "paper", "keeps"):
        require_plain(raw.get(key), f"strategy {name}: {key}")
        if isinstance(raw.get(key), list | dict):
            raise UserError(f"strategy {name}: {key}: {raw[key]!r} must be one text")
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
    warnings = [f"{label}: {part.name}: {text}" for part in parts for text in _validated(label, part, parts)]
    return Strategy(label, str(raw.get("summary", "")), str(raw.get("paper", "")), parts, warnings)


def _validated(label: str, part: Part, parts: Sequence[Part]) -> list[str]:
    """Warnings of a method. Raises UserError if another method of the strategy makes the method meaningless."""
    try:
        return part.method.validate([other.method for other in parts if other is not part])
    except UserError as error:
        raise UserError(f"strategies.{label}: {part.name}: {error}") from error


def _single(entry: Any, strategy: str) -> tuple[str, dict[str, Any]]:
    """Name and settings of one entry of `methods`."""
    if isinstance(entry, str):
        return entry, {}
    if isinstance(entry, dict) and len(entry) == 1:
        ((name, settings),) = entry.items()
        return str(name), _mapping(settings, f"strategy {strategy}: methods: {name}")
    raise UserError(f"strategy {strategy}: methods: {entry!r} must be a name or one `name: settings` pair")


def _mapping(settings: Any, where: str) -> dict[str, Any]:
    """Settings as a dictionary; none if the entry is empty."""
    if settings is not None and not isinstance(settings, dict):
        raise UserError(f"{where}: {settings!r} must be settings as `key: value`")
    return dict(settings or {})


def prepared(model: Any, methods: Sequence[Trains], t: int) -> Any:
    """The model after `prepare` of a stage's methods: first of those that decide what is trained, then of the others.

    Args:
        model: model at the start of the stage, on the device of the stage.
        methods: methods of the stage in the order of the strategy.
        t: number of the stage.
    """
    for method in sorted(methods, key=lambda method: not method.adds_parameters):  # stable
        model = method.prepare(model, t)
    return model
