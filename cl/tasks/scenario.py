"""A scenario: an ordered stream of tasks, the sets that are only measured, and the rule that splits them.

Sources (`scenarios/`) yield the documents and `cl.tasks.splitting` splits them. A document lands in the same split in
every task and every retain set, so the test text of one set is never the training text of another set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cl import construction, registry
from cl.errors import UserError
from cl.plain_values import require_file_name, require_plain, require_text
from cl.tasks import harness, task_orders
from cl.tasks.article import Article
from cl.tasks.documents import Document
from cl.tasks.harness import HarnessTask
from cl.tasks.passage import Passage
from cl.tasks.splitting import Report, Shares, Splits, normal, split_texts, stated, strictest, studied
from cl.tasks.task import KINDS, Part, Source, Task, digest

__all__ = ["Part", "Report", "Scenario", "Source", "Splits", "Task", "load", "size", "split"]

UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
MOST_BYTES = 10**15
WITHOUT_QUESTIONS = ("text", "passage")
TRAINS_NO_QUESTION = (*WITHOUT_QUESTIONS, "reading")


@dataclass(frozen=True)
class Scenario:
    """An ordered stream of tasks with its retain sets.

    Args:
        name: name of the YAML file.
        version: version of the scenario.
        summary: one line for people.
        tasks: tasks by name, in the order of the stream.
        retain: sets that are only measured, by name.
        validation: share of the documents in the validation split.
        test: share of the documents in the test split.
        seed: seed of the hash that splits documents.
        orders: further orders of the tasks, by name.
        general: sets outside the stream that a strategy may mix in or align with, measured like the retain sets.
        harness: retain sets that are tasks of lm-evaluation-harness, by name.
    """

    name: str
    version: int
    summary: str
    tasks: dict[str, Task]
    retain: dict[str, Task]
    validation: float
    test: float
    seed: int
    orders: dict[str, list[str]] = field(default_factory=dict)
    general: dict[str, Task] = field(default_factory=dict)
    harness: dict[str, HarnessTask] = field(default_factory=dict)

    @property
    def measured(self) -> list[str]:
        """Sets outside the stream that have a column of R: retain sets, and general sets except preferences."""
        return [*self.retain, *(name for name, task in self.general.items() if task.kind != "preference")]

    def ordered(
        self, asked: Sequence[list[str] | str] | Mapping[str, int] | str | None, known: int = 0
    ) -> list[list[str]]:
        """Return the requested task orders; raises UserError for an unknown, incomplete or repeated order.

        Args:
            asked: orders by name or written out, `all`, `latin_square` or {sample: N, seed: S}; None: order of `tasks`.
            known: number of leading tasks that the model knows; they keep their places.
        """
        if isinstance(asked, (str, Mapping)):
            names = list(self.tasks)
            return [names[:known] + order for order in task_orders.orders(names[known:], asked)]
        found: list[list[str]] = []
        for order in asked or [list(self.tasks)]:
            if isinstance(order, str) and order not in self.orders:
                raise UserError(registry.unknown(f"orders: order of {self.name}", order, self.orders))
            names = self.orders[order] if isinstance(order, str) else order
            if sorted(map(str, names)) != sorted(self.tasks):
                raise UserError(f"orders: {names} must name each task of {self.name} once: {list(self.tasks)}")
            if names in found:
                raise UserError(f"orders: {order} is the order {names}, which is there already; remove one")
            found.append(names)
        return found

    def task(self, name: str) -> Task:
        """Return the task, retain or general set of a name; raises UserError for an unknown name."""
        everything = self.tasks | self.retain | self.general
        if name not in everything:
            raise UserError(registry.unknown(f"scenario {self.name}: task", name, everything))
        return everything[name]

    def fingerprint(self, name: str) -> str:
        """Hash of everything that decides which documents each split of a task or set holds."""
        parts = [self.task(name).fingerprint(), self.validation, self.test, self.seed, name in self.retain]
        held = self.stated_elsewhere(name)
        own = {normal(document) for document in self.task(name).documents()} if held else set()
        return digest(
            [*parts, *([sorted((text, held[text]) for text in own & held.keys())] if own & held.keys() else [])]
        )

    def stated_elsewhere(self, name: str) -> dict[str, str]:
        """Split of each question that another set's benchmark states as test or validation; see `splitting.stated`.

        Args:
            name: a set; text shares no questions with other sets, and none is trained on in a reading task.
        """
        if self.task(name).kind in TRAINS_NO_QUESTION:
            return {}
        others = (task for other, task in {**self.tasks, **self.retain, **self.general}.items() if other != name)
        return strictest(_stated(task) for task in others if task.kind not in WITHOUT_QUESTIONS and task.states_splits)


def load(name: str, overrides: Mapping[str, Any] | None = None) -> Scenario:
    """Read a scenario; raises UserError, which names the key, for an unknown or missing key and an invalid value.

    Args:
        name: name of the scenario, or path of its YAML file.
        overrides: values to replace, nested or with dotted keys, such as {"tasks.german.limit": "1MB"}.
    """
    path = registry.path_of("scenarios", name)
    content = _merge(registry.read("scenarios", name), overrides or {})
    optional = ("retain", "general", "split", "orders")
    _check_keys(content, f"scenario {name}", required=("summary", "version", "tasks"), optional=optional)
    require_file_name(path.stem, "scenario")
    tasks = _tasks(content["tasks"], "tasks", path.parent)
    retained = _mapping(content.get("retain", {}), "retain")
    lent = harness.parse(retained, path.parent)
    retain = _tasks({name: each for name, each in retained.items() if name not in lent}, "retain", path.parent)
    general = _tasks(content.get("general", {}), "general", path.parent)
    if not tasks:
        raise UserError(f"scenario {name}: tasks: there is none")
    for label, sets in (("retain", retained), ("general", general)):
        others = tasks.keys() | (retained.keys() if label == "general" else set())
        if both := sorted(others & sets.keys()):
            raise UserError(f"{label}: {both[0]!r} is also the name of another set; give this one another")
    shares = _shares(content.get("split", {}))
    version = _whole(content["version"], "version")
    require_plain(summary := content["summary"], "summary")
    if isinstance(summary, dict | list):
        raise UserError(f"summary: {summary!r} must be one text")
    found = Scenario(
        path.stem,
        version,
        str(summary),
        tasks,
        retain,
        shares.validation,
        shares.test,
        shares.seed,
        general=general,
        harness=lent,
    )
    orders = _mapping(content.get("orders", {}), "orders")
    for label, order in orders.items():
        require_plain(order, f"orders.{label}")
        if not isinstance(order, list):
            raise UserError(f"orders.{label}: {order!r} must be a list of the tasks")
        found.ordered([order])
    return replace(found, orders=orders)


def split(task: Task, scenario: Scenario, folder: Path | None = None) -> Splits:
    """De-duplicate, cap, split and shuffle the documents of a task or set of the scenario.

    A retain set keeps only validation and test documents: its training split is empty, and its limits count only the
    kept documents.

    Args:
        task: the task or set.
        scenario: its scenario.
        folder: folder with space for all documents, which are kept there as long as the splits are read; None: that
            of temporary files.

    Raises:
        UserError: for a source that cannot be read and for an empty split.
    """
    measured_only = task.name in scenario.retain
    streams = [(_checked(part.source.documents(), task), part.limit) for part in task.sources]
    shares, elsewhere = Shares(scenario.validation, scenario.test, scenario.seed), scenario.stated_elsewhere(task.name)
    try:
        splits = split_texts(streams, shares, task.limit, measured_only, elsewhere, folder)
    except UserError as error:
        raise UserError(f"{task.name}: {error}") from error
    if task.kind == "reading":
        splits = studied(splits, measured_only)
        _check_unread(task, scenario)
    report = splits.report
    for name, documents in report.documents.items():
        if documents == 0 and not (measured_only and name == "train"):
            kept = f"{sum(report.documents.values())} documents, {sum(report.bytes.values())} bytes"
            raise UserError(
                f"{task.name}: the {name} split is empty ({report.seen} documents read, kept {kept}): "
                "give more text, a larger limit or a larger share in `split`"
            )
    return splits


def _check_unread(task: Task, scenario: Scenario) -> None:
    """Raises UserError for a document that the stream studies, and a set outside of it has as one that is not read."""
    if task.name in scenario.tasks:
        return
    own = {normal(document) for document in task.documents()}
    for other in scenario.tasks.values():
        if other.kind == "reading" and any(normal(document) in own for document in other.documents()):
            raise UserError(f"{task.name}: {other.name} studies one of its documents; give the two disjoint documents")


_STATED: dict[str, dict[str, str]] = {}


def _stated(task: Task) -> dict[str, str]:
    """Stated splits of a set's questions; a set is read once per process."""
    key = task.fingerprint()
    if key not in _STATED:
        _STATED[key] = stated(task.documents())
    return _STATED[key]


def _checked(documents: Iterator[Document], task: Task) -> Iterator[Document]:
    """Refuse documents that are not of the task's kind."""
    for document in documents:
        found = kind_of(document)
        if found != task.kind:
            raise UserError(f"kind: {task.kind} does not fit the source, which yields {found}; set kind: {found}")
        yield document


def kind_of(document: Document) -> str:
    """The kind of task that a document belongs to, one of `KINDS`."""
    if isinstance(document, str):
        return "text"
    if isinstance(document, Passage):
        return "passage"
    if isinstance(document, Article):
        return "reading"
    return "preference" if document.rejected else "instruction"


def size(value: object, where: str) -> int:
    """Return the bytes of a size: a whole number, or text such as "6MB" or "500 kB" (powers of 1,000)."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *(B|kB|MB|GB)?", str(value))
    number = float(match[1]) * UNITS[match[2] or "B"] if match and not isinstance(value, bool) else 0.0
    if not 1 <= number <= MOST_BYTES:
        raise UserError(f"{where}: {value!r} is not a size such as 500kB or 6MB, below {MOST_BYTES:.0e} bytes")
    return round(number)


def _tasks(group: object, where: str, folder: Path) -> dict[str, Task]:
    tasks = {}
    for name, content in _mapping(group, where).items():
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise UserError(f"{where}: the name {name!r} may hold letters, digits, _ and - only")
        require_file_name(name.lstrip("-") or "_", where)
        tasks[name] = _task(name, _mapping(content, f"{where}.{name}"), f"{where}.{name}", folder)
    return tasks


def _task(name: str, content: dict[str, Any], where: str, folder: Path) -> Task:
    _check_keys(content, where, required=("sources",), optional=("kind", "limit"))
    kind = content.get("kind", "text")
    if kind == "preference" and where.split(".")[0] != "general":
        raise UserError(f"{where}.kind: preferences align a model and are not a task; put the set under general")
    if kind not in KINDS:
        raise UserError(registry.unknown(f"{where}.kind", kind, KINDS))
    sources = content["sources"]
    if not isinstance(sources, list) or not sources:
        raise UserError(f"{where}.sources: must be a list with at least one `- source: NAME`")
    parts = tuple(_part(entry, f"{where}.sources[{index}]", folder) for index, entry in enumerate(sources))
    return Task(name, parts, kind, _limit(content, where))


def _part(entry: object, where: str, folder: Path) -> Part:
    settings = _mapping(entry, where)
    limit = _limit(settings, where)
    settings.pop("limit", None)
    reader = settings.pop("source", None)
    if not isinstance(reader, str):
        raise UserError(f"{where}: names no source; write for example {{source: files, path: my_text/*.txt}}")
    source = construction.build("sources", reader, settings, where, folder=str(folder))
    return Part(source, limit, reader.rpartition(":")[2])


def _limit(content: Mapping[str, Any], where: str) -> int | None:
    return size(content["limit"], f"{where}.limit") if "limit" in content else None


def _shares(content: object) -> Shares:
    """Check the `split` block: shares strictly between 0 and 1 that leave training documents."""
    rule = {"validation": 0.02, "test": 0.05, "seed": 0} | _mapping(content, "split")
    _check_keys(rule, "split", required=("validation", "test", "seed"))
    for key in ("validation", "test"):
        if not isinstance(rule[key], float) or not 0 < rule[key] < 1:
            raise UserError(f"split.{key}: {rule[key]!r} is not a share between 0 and 1, such as 0.05")
    if rule["validation"] + rule["test"] >= 1:
        raise UserError("split: validation and test together leave no documents to train on")
    return Shares(rule["validation"], rule["test"], _whole(rule["seed"], "split.seed"))


def _whole(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UserError(f"{where}: {value!r} is not a whole number of at least 0")
    return value


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where}: must hold `key: value` lines, not {value!r}")
    for key in value:
        require_text(key, where)
    return dict(value)


def _check_keys(content: Mapping[str, Any], where: str, required: Sequence[str], optional: Sequence[str] = ()) -> None:
    for key in content:
        if key not in (*required, *optional):
            raise UserError(registry.unknown(f"{where}: key", key, (*required, *optional)))
    for key in required:
        if key not in content:
            raise UserError(f"{where}: key {key!r} is missing")


def _merge(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Merge overrides into `base`: mappings key by key, other values as a whole; "a.b" means key b inside a."""
    merged = dict(base)
    for key, value in overrides.items():
        head, _, rest = key.partition(".")
        value = {rest: value} if rest else value
        inner = merged.get(head)
        merged[head] = _merge(inner if isinstance(inner, dict) else {}, value) if isinstance(value, Mapping) else value
    return merged
