"""`cl new`: a folder for a study of one's own, in which every file runs as written."""

from __future__ import annotations

import re
import shutil
import string
from pathlib import Path

from rich.markup import escape

from cl.commands.shared import console
from cl.errors import UserError
from cl.plain_values import require_path

TEMPLATES = Path(__file__).parents[1] / "templates"
TEXTS = Path(__file__).parents[2] / "scenarios" / "tiny"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def new(path: str) -> None:
    """Write an experiment, a scenario with two short texts, a method with its test, and a README into a new folder.

    Args:
        path: the folder; its last part names the study.

    Raises:
        UserError: for a folder that holds something, and a name that is no name of a file.
    """
    require_path(path, "new")
    folder = Path(path)
    if not NAME.fullmatch(folder.name):
        raise UserError(f"new: {folder.name!r}: use letters, digits, - and _, such as my-study")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"new: {path} exists and is not empty; name a new folder")
    name = folder.name
    values = {"name": name, "title": name.replace("-", " ").replace("_", " ").capitalize()}
    for template in sorted(TEMPLATES.rglob("*.txt")):
        place = template.relative_to(TEMPLATES).with_suffix("")
        file = folder / place.parent / place.name.replace("study", name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(string.Template(template.read_text(encoding="utf-8")).substitute(values), encoding="utf-8")
    (folder / "data").mkdir()
    for text in ("english.txt", "german.txt"):
        shutil.copyfile(TEXTS / text, folder / "data" / text)
    console.print(f"wrote    {escape(path)}\nnext     cd {escape(path)} && cl run {name} --allow-code=.")
