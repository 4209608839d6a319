"""Text from a Hugging Face data set: a name on the hub, or a folder written by `save_to_disk`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cl.errors import UserError
from scenarios.sources.files import content_hash
from scenarios.sources.tables import checked, require_column

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

COMMIT = "[0-9a-f]{40}"


class Hub:
    """Documents from one column of a data set. Code in a data set is never run.

    A data set on the hub is downloaded at first use and then read from the cache of `datasets`. Raises UserError if the
    data set, the split or the column does not exist.

    Args:
        path: local folder, relative to `folder`; if there is none, a name on the hub.
        split: split of the data set.
        column: column that holds the document.
        config: configuration of a hub data set, as in `datasets.load_dataset`.
        revision: revision of a hub data set; give a commit to pin the data.
        licence: licence, in one line.
        about: description, in one line; by default path and split.
        streaming: read a hub data set over the network while the data node needs it, and keep no copy; needs a commit
            as revision. The documents are the same.
        folder: folder of the scenario's file.
    """

    def __init__(
        self,
        path: str,
        split: str = "train",
        column: str = "text",
        config: str | None = None,
        revision: str | None = None,
        licence: str = "not stated",
        about: str = "",
        streaming: bool = False,
        folder: str = ".",
    ) -> None:
        local = Path(folder, path)
        self.folder = local if local.is_dir() else None
        if self.folder and (config or revision):
            raise UserError(f"config, revision: are for data sets on the hub, but {local} is a folder")
        if not self.folder and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", path):
            raise UserError(f"path: there is no folder {local}, and {path!r} is no name on the hub; correct the path")
        if streaming and (self.folder or not re.fullmatch(COMMIT, revision or "")):
            raise UserError("streaming: reads a data set on the hub; give its commit as revision, or remove it")
        self.path = path
        self.split = split
        self.column = column
        self.config = config
        self.revision = revision
        self.licence = licence
        self.streaming = streaming
        self.about = about or f"data set {path}, split {split}"

    def documents(self) -> Iterator[str]:
        """Yield the column's values."""
        dataset = self._dataset
        names = dataset.column_names or list(next(iter(dataset), {}))  # a stream may tell them by its rows alone
        require_column(self.column, names, self.path)
        for row in dataset.select_columns([self.column]):
            yield checked(row[self.column], self.column, names, self.path)

    def size(self) -> int:
        """Bytes of text, roughly: those of a local folder's files; 0 for the hub."""
        return sum(path.stat().st_size for path in self.folder.rglob("*.arrow")) if self.folder else 0

    def fingerprint(self) -> str:
        """Hash of a local folder's files; for the hub the commit, or without a commit the fingerprint of `datasets`."""
        if self.folder:
            # `datasets` adds cache files (cache-*.arrow) to the folder; they are not part of the data set.
            files = (path for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith("cache-"))
            content = content_hash(sorted(files))
        elif re.fullmatch(COMMIT, self.revision or ""):
            content = f"{self.path} {self.config} {self.revision}"
        else:
            content = self._dataset._fingerprint  # covers the resolved commit, the builder and the version
        return f"{content} split={self.split!r} column={self.column!r}"

    @cached_property
    def _dataset(self) -> Dataset | IterableDataset:
        import datasets

        try:
            if self.folder is None:
                asked = {"split": self.split, "revision": self.revision, "streaming": self.streaming}
                return datasets.load_dataset(self.path, self.config, **asked)
            found = datasets.load_from_disk(self.folder)
        except (FileNotFoundError, ConnectionError, ValueError) as error:
            raise UserError(
                f"path: {self.path!r} is no folder here and cannot be loaded: {' '.join(str(error).split())}"
            ) from error
        if isinstance(found, datasets.Dataset):
            own = str(found.split or "train")
            if own != self.split:
                raise UserError(
                    f"split: {self.path} is the split {own!r} alone, not {self.split!r}; change the setting"
                )
            return found
        if self.split not in found:
            raise UserError(f"split: {self.path} has no {self.split!r} (splits: {', '.join(found)})")
        return found[self.split]
