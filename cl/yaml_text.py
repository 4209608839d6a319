"""The YAML of users: experiments, scenarios, strategies, tuned values and values on the command line.

Everything that PyYAML lets pass, or answers with another exception than its own, is refused here with file and line:
keys given twice, references to the value that holds them, nesting and aliases without bound, tags that build objects,
numbers without bound, and halves of surrogate pairs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from cl.errors import UserError

LARGEST = 1_000_000
"""Bytes of a file; PyYAML reads about 0.2 MB/s."""
DEEPEST = 40
"""Nested lists and mappings; an experiment has fewer than ten."""
MOST_NODES = 50_000
"""Values after aliases are written out; a long text counts once per 100 characters."""
LARGEST_WHOLE = 2**63
"""Whole numbers are below it, as in most languages; Python's own have no limit, and cannot be printed without one."""
LONGEST_NUMBER = 400
"""Characters of a number; floating-point numbers have at most 309 digits before the point."""

_PREFIX = "tag:yaml.org,2002:"
_PLAIN = {_PREFIX + name for name in ("str", "int", "float", "bool", "null", "map", "seq", "merge", "timestamp")}
_SURROGATE = re.compile("[\ud800-\udfff]")
_WRONG = (ValueError, ArithmeticError, LookupError, AttributeError, TypeError)
"""What PyYAML raises for text that does not fit its tag, such as `!!int abc` and 2026-13-45."""


class Refused(yaml.MarkedYAMLError):
    """Valid YAML that is not accepted."""


class Unbounded(Refused):
    """YAML that is too deep or too large, or holds itself: no part of a program should read it."""


def read(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises:
        UserError: for a file that cannot be read or is refused, with its line.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: cannot be read: {reason}") from error
    if len(raw) > LARGEST:
        raise UserError(f"{path}: is larger than {LARGEST / 1e6:g} MB; data belong in files that a source reads")
    try:
        return parsed(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path}, line {line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from error


def value(text: str, where: str) -> Any:
    """Return a value that was written in one line; text that is no YAML stands for itself.

    Args:
        text: the value.
        where: place in the configuration, with which an error message begins.

    Raises:
        UserError: for what is YAML, but refused.
    """
    if _SURROGATE.search(text):
        raise UserError(f"{where}: holds bytes that are not UTF-8 text; write it in UTF-8")
    try:
        return parsed(text)
    except Refused as error:
        raise UserError(f"{where}: {error.problem}") from error
    except yaml.YAMLError:
        return text


def require_bounded(text: str, where: str) -> None:
    """Check that a text is harmless for a library that reads it as YAML.

    Args:
        text: any text.
        where: place in the configuration, with which an error message begins.

    Raises:
        UserError: for YAML that is too deep or too large, or holds itself.
    """
    if re.fullmatch(r"[\w./ -]{0,100}", text):
        return
    try:
        parsed(text)
    except Unbounded as error:
        raise UserError(f"{where}: the text {error.problem}") from error
    except yaml.YAMLError:
        return


def require_arguments(arguments: Sequence[str]) -> None:
    """Check arguments of the command line, of which jsonargparse reads some as YAML, and which messages repeat.

    Raises:
        UserError: for what is not UTF-8, and for YAML without bound.
    """
    for place, argument in enumerate(arguments, 1):
        if _SURROGATE.search(argument):
            raise UserError(f"argument {place}: {argument!r} holds bytes that are not UTF-8 text; write it in UTF-8")
        require_bounded(argument, f"argument {place}")
        require_bounded(argument.partition("=")[2], f"argument {place}")


def parsed(text: str) -> Any:
    """Return the content of YAML text.

    Raises:
        yaml.YAMLError: for invalid YAML; `Refused` for what is valid and not accepted.
    """
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    except (*_WRONG, RecursionError) as error:  # of the scanner, such as the escape "\U00110000"
        raise Unbounded(problem=f"cannot be read: {error}", problem_mark=loader.get_mark()) from error
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """SafeLoader that counts what it reads, and refuses what the head of this module lists."""

    # `=` alone is a text here; PyYAML gives it a type of its own, which it cannot construct.
    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML's name
        first: [(tag, pattern) for tag, pattern in pairs if tag != f"{_PREFIX}value"]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._nodes = 0
        self._sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node; its aliases count with all that they stand for."""
        event, before = self.peek_event(), self._nodes  # type: ignore[no-untyped-call]
        alias, self._depth = isinstance(event, yaml.AliasEvent), self._depth + 1
        self._refuse(self._depth > DEEPEST, f"is nested more than {DEEPEST} levels deep", event.start_mark, Unbounded)
        found: Any = super().compose_node(parent, index)
        self._depth -= 1
        if alias:
            self._refuse(
                found not in self._sizes, f"*{event.anchor} refers to what holds it", event.start_mark, Unbounded
            )
            self._nodes += self._sizes[found]
        else:
            self._nodes += 1 + (len(found.value) // 100 if isinstance(found, yaml.ScalarNode) else 0)
            self._sizes[found] = self._nodes - before
            self._refuse(found.tag not in _PLAIN, f"the tag {_short(found.tag)} is not read here", event.start_mark)
        self._refuse(self._nodes > MOST_NODES, f"holds more than {MOST_NODES:,} values", event.start_mark, Unbounded)
        composed: yaml.Node | None = found
        return composed

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Construct a value; numbers have a limit."""
        long = isinstance(node, yaml.ScalarNode) and len(node.value) > LONGEST_NUMBER
        number = node.tag in (f"{_PREFIX}int", f"{_PREFIX}float")
        self._refuse(number and long, "the number has too many digits", node.start_mark, Unbounded)
        try:
            found = super().construct_object(node, deep)
        except _WRONG as error:
            kind = node.tag.removeprefix(_PREFIX)
            raise Refused(
                problem=f"{_short(node.value)} is not of type {kind}", problem_mark=node.start_mark
            ) from error
        too_large = isinstance(found, int) and abs(found) >= LARGEST_WHOLE
        self._refuse(too_large, f"the whole number {_short(node.value)} is too large", node.start_mark, Unbounded)
        return found

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        """Construct a text; half of a surrogate pair is none."""
        found = super().construct_scalar(node)
        half = _SURROGATE.search(str(found)) is not None
        self._refuse(half, "holds half of a surrogate pair, which is no text", node.start_mark)
        return found

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping; YAML readers silently keep the last value of a key given twice."""
        seen = set()
        for key in [key for key, _ in node.value] if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode):
                self._refuse(key.value in seen, f"key {_short(key.value)} is given twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)  # type: ignore[arg-type]  # refuses other nodes itself

    @staticmethod
    def _refuse(wrong: bool, problem: str, mark: Any, kind: type[Refused] = Refused) -> None:
        if wrong:
            raise kind(problem=problem, problem_mark=mark)


def _short(found: object, most: int = 60) -> str:
    """A value for a message."""
    text = found if isinstance(found, str) else "a list or mapping"
    return repr(text if len(text) <= most else f"{text[:most]}…")
