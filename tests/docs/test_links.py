"""Links between the Markdown pages, and the files and names of the project that the pages mention."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    str(page.relative_to(ROOT)) for place in (".", "docs", "docs/*") for page in sorted(ROOT.glob(f"{place}/*.md"))
]
CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]*))?\)")
FILE = re.compile(r"(?:cl|strategies|scenarios|experiments|benchmarks|tests|docs|requirements)/[\w/.-]*\w")
NAME = re.compile(r"cl(?:\.[a-z_]\w*)+(?:\.\w+)*")


@cache
def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings: lower case, spaces as hyphens, without links, punctuation and markup."""
    titles = re.findall(r"^#+ +(.+)", re.sub(r"^(```|~~~).*?^\1", "", page.read_text("utf-8"), flags=re.M | re.S), re.M)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).strip().lower() for title in titles]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in plain}


@pytest.mark.parametrize("name", PAGES)
def test_links_and_anchors_resolve(name):
    page = ROOT / name
    for path, anchor in LINK.findall(CODE.sub("", page.read_text("utf-8"))):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name}: {path}"
        assert not anchor or anchor in anchors(target), f"{name}: {path}#{anchor}"


@pytest.mark.parametrize("name", [page for page in PAGES if page != "CHANGELOG.md"])
def test_files_and_names_of_the_project_exist(name):
    for code in re.findall(r"`([^`\n]+)`", (ROOT / name).read_text("utf-8")):
        if FILE.fullmatch(code) and not re.search(r"\b[A-Z]{3,}\b", code):  # NAME stands for a name of the user's
            assert (ROOT / code).exists(), f"{name}: {code}"
        if NAME.fullmatch(code):
            assert defined(code.split(".")), f"{name}: {code}"


def defined(parts: list[str]) -> bool:
    """Whether a dotted name is a package, a module, or a name that its module's text defines."""
    path = ROOT.joinpath(*parts)
    if path.is_dir() or path.with_suffix(".py").exists():
        return True
    for end in range(len(parts) - 1, 0, -1):
        module = ROOT.joinpath(*parts[:end]).with_suffix(".py")
        if module.exists():
            found = rf"^ *(?:class|def) {parts[end]}\b|^ *{parts[end]}\b.*[:=]"
            return re.search(found, module.read_text("utf-8"), re.MULTILINE) is not None
    return False
