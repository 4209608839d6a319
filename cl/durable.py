"""Files that outlive a crash, and checksums that tell when they did not.

A rename is atomic, but after a loss of power the new name may stand over content that never reached the disk. So files
are written under another name, forced to the disk (fsync) and then renamed, and so is the folder that holds the name.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

CHECKSUMS = "checksums.json"


def write(path: Path, content: bytes) -> None:
    """Replace a file: a reader finds the old content or the new, also after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    new = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    force(path.parent)


def sync(folder: Path) -> None:
    """Force a folder with all files and folders in it to the disk."""
    for path in folder.rglob("*"):
        force(path)
    force(folder)


def rename(folder: Path, target: Path) -> None:
    """Rename a complete folder, and force its content and its new name to the disk."""
    sync(folder)
    folder.rename(target)
    force(target.parent)


def force(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def files(folder: Path) -> Iterator[str]:
    """Names of all files below a folder, relative to it, in order."""
    return (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def differing(folder: Path, expected: Mapping[str, str], ignored: frozenset[str] = frozenset()) -> list[str]:
    """What is wrong with a folder: names of files that are missing, changed or not expected, each with the word.

    Hidden files, which file systems and file managers make, may be there.

    Args:
        folder: the folder.
        expected: SHA-256 by name of file.
        ignored: names of files that may be there.
    """
    found = [
        f"{name} {'is changed' if (folder / name).is_file() else 'is missing'}"
        for name, sha256 in expected.items()
        if not (folder / name).is_file() or checksum(folder / name) != sha256
    ]
    extra = {name for name in files(folder) if not Path(name).name.startswith(".")} - expected.keys() - ignored
    return found + [f"{name} does not belong to it" for name in sorted(extra)]


def seal(folder: Path, sums: Mapping[str, str] | None = None) -> None:
    """Write the checksums of all files of a folder into it; `sums` by name of file, where they are known."""
    sums = {name: checksum(folder / name) for name in files(folder)} if sums is None else dict(sums)
    (folder / CHECKSUMS).write_text(json.dumps(sums), encoding="utf-8")


def broken(folder: Path) -> list[str]:
    """What is wrong with a sealed folder: files that are missing, changed or not its own; or the seal itself."""
    try:
        sums = json.loads((folder / CHECKSUMS).read_bytes())
        return differing(folder, {str(name): str(sha256) for name, sha256 in sums.items()}, frozenset({CHECKSUMS}))
    except (OSError, ValueError, AttributeError):
        return [f"{CHECKSUMS} is missing or damaged"]


def link(source: str, target: str) -> None:
    """Make a hard link, or a copy if the file system has no links. For files that never change."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
