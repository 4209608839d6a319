"""Retain sets that are tasks of lm-evaluation-harness, measured by the harness with its own prompts and metrics.

    retain:
      hellaswag: {source: lm_eval, task: hellaswag, limit: 500}
      colours: {source: lm_eval, task: colours, include: my_tasks}   # my_tasks/*.yaml, beside the scenario's file

Nothing is trained on them and they have no loss: their cells of R hold the scores of the harness.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cl.errors import UserError

SOURCE, PACKAGE = "lm_eval", "lm-eval"


@dataclass(frozen=True)
class HarnessTask:
    """A retain set of the harness, as a scenario states it.

    Args:
        name: name of the set.
        task: name of the harness's task.
        limit: number of documents that are asked, the first ones. None: all.
        include: folder of the user's own tasks. None: the tasks that come with the harness.
    """

    name: str
    task: str
    limit: int | None = None
    include: str | None = None

    def __str__(self) -> str:
        asked = "all documents" if self.limit is None else f"the first {self.limit} documents"
        return f"{asked} of the task {self.task} of lm-evaluation-harness"

    def spec(self) -> HarnessSpec:
        """The set as it enters keys, with the versions that decide its scores.

        Raises:
            UserError: if the harness is not installed, or does not know the task.
        """
        where = f"retain.{self.name}"
        try:
            harness = importlib.metadata.version(PACKAGE)
        except importlib.metadata.PackageNotFoundError as error:
            raise UserError(f"{where}: source lm_eval needs {PACKAGE}; pip install 'cl[{PACKAGE}]'") from error
        version = _versions(self.include).get(self.task)
        if version is None:
            place = f"in {self.include}" if self.include else "in the harness; list them with `lm-eval ls tasks`"
            raise UserError(f"{where}.task: there is no task {self.task!r} {place}")
        content = None if self.include is None else content_of(Path(self.include))
        return HarnessSpec(self.name, self.task, harness, version, self.limit, content)


@dataclass(frozen=True)
class HarnessSpec:
    """A retain set of the harness in the specification of a row of R.

    Args:
        name: name of the set.
        task: name of the harness's task.
        harness: version of the harness.
        version: version that the task states.
        limit: number of documents that are asked. None: all.
        content: hash of the folder of the user's own tasks.
    """

    name: str
    task: str
    harness: str
    version: str
    limit: int | None = None
    content: str | None = None


def parse(retain: Mapping[str, Any], folder: Path) -> dict[str, HarnessTask]:
    """The sets of the harness among the retain sets of a scenario, by name.

    Args:
        retain: settings of the retain sets, by name.
        folder: folder of the scenario's file.

    Raises:
        UserError: for an unknown or missing setting and for a value that does not fit.
    """
    return {
        name: _task(name, content, folder)
        for name, content in retain.items()
        if isinstance(content, dict) and content.get("source") == SOURCE
    }


def _task(name: str, content: Mapping[str, Any], folder: Path) -> HarnessTask:
    where = f"retain.{name}"
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise UserError(f"retain: the name {name!r} may hold letters, digits, _ and - only")
    known = ("source", "task", "limit", "include")
    if unknown := sorted(content.keys() - set(known)):
        raise UserError(f"{where}: a set of lm_eval has no setting {unknown[0]!r}, but {', '.join(known)}")
    task, limit, include = content.get("task"), content.get("limit"), content.get("include")
    if not isinstance(task, str) or not task:
        raise UserError(f"{where}.task: {task!r} must name a task of the harness, such as hellaswag")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise UserError(f"{where}.limit: {limit!r} must be a number of documents, such as 500")
    if include is not None and not (isinstance(include, str) and (folder / include).is_dir()):
        raise UserError(f"{where}.include: {include!r} must be a folder of tasks, beside the scenario's file")
    return HarnessTask(name, task, limit, None if include is None else str((folder / include).resolve()))


@cache
def _versions(include: str | None) -> dict[str, str]:
    """Version that each single task states, as text; `none` where it states none. Groups of tasks are left out."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=include, include_defaults=include is None)
    return {
        name: str((entry.cfg or {}).get("metadata", {}).get("version", "none"))
        for name, entry in manager.task_index.items()
        if entry.kind.name in ("TASK", "PY_TASK")
    }


def content_of(folder: Path) -> str:
    """Hash of the files of a folder of tasks, with their names."""
    found = hashlib.blake2b(digest_size=16)
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        content = file.read_bytes()
        found.update(f"{file.relative_to(folder).as_posix()} {len(content)}\n".encode() + content)
    return found.hexdigest()
