"""Which definitions of ours a step really executes."""

from __future__ import annotations

import ast
import contextlib
import inspect
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import CodeType, FrameType, SimpleNamespace
from typing import Any

import pytest

from cl.graph.code_version import closure
from cl.graph.kinds import Kind
from cl.graph.source_files import NEUTRAL, Place
from tests.support.training import ROOT

OURS = tuple(f"{ROOT / name}/" for name in ("cl", "strategies", "scenarios"))


@cache
def statements(file: str) -> tuple[str, list[tuple[int, int, str]]]:
    """A file's module, and the lines and names of its top-level statements."""
    path = Path(file)
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    found = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        name = getattr(node, "name", None) or next((t.id for t in targets if isinstance(t, ast.Name)), "")
        found.append((first, node.end_lineno or first, name))
    return module, found


class Tracer:
    """Collects the definitions of all functions that are called."""

    def __init__(self) -> None:
        self.places: set[Place] = set()
        self.known: set[CodeType] = set()

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if code in self.known:
            return
        self.known.add(code)
        if not code.co_flags & inspect.CO_OPTIMIZED:  # bodies of modules and classes: imports
            return
        if not code.co_filename.startswith(OURS):
            return
        if frame.f_back is not None and frame.f_back.f_code.co_filename.endswith("cl/construction.py"):
            return  # a scenario builds the sources of all its sets; a node reads those of one
        module, found = statements(code.co_filename)
        line = code.co_firstlineno
        self.places |= {(module, name) for first, last, name in found if first <= line <= last and name}


class Nobody:
    """A watcher that is no code of ours."""

    def progress(self, done: int, total: int) -> None: ...

    def point(self, point: object) -> None: ...

    def note(self, text: str) -> None: ...


@contextlib.contextmanager
def traced(patch: pytest.MonkeyPatch) -> Iterator[dict[str, set[Place]]]:
    """Definitions that each kind of step executes outside of the closure of its key, while nodes are computed."""
    outside: dict[str, set[Place]] = {}
    real = Kind.module

    def module(kind: Kind) -> Any:
        step = real(kind)

        def run(spec: Any, inputs: Any, context: Any) -> Any:
            tracer = Tracer()
            quiet = replace(context, watcher=Nobody())
            threading.settrace(tracer)
            sys.settrace(tracer)
            try:
                return step.run(spec, inputs, quiet)
            finally:
                sys.settrace(None)
                threading.settrace(None)
                seen = {place for place in tracer.places if place[0] not in NEUTRAL}
                outside.setdefault(spec.kind, set()).update(seen - set(closure(entries[id(spec)])))

        return SimpleNamespace(run=run)

    patch.setattr(Kind, "module", module)
    yield outside


entries: dict[int, tuple[str, ...]] = {}
"""Entries of each node by its specification; filled by `note`."""


def note(nodes: list[Any]) -> None:
    """Tell the tracer which code each node stands for."""
    entries.update({id(node.spec): node.entries for node in nodes})
