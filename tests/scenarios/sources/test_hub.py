from __future__ import annotations

from pathlib import Path

import datasets
import pytest

from cl.errors import UserError
from scenarios.sources.hub import Hub

ROWS = {"text": ["eins", "zwei"], "label": [0, 1]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    datasets.Dataset.from_dict(ROWS).save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(ROWS)}).save_to_disk(tmp_path / "many")
    (tmp_path / "other").mkdir()
    return tmp_path


@pytest.mark.parametrize("name", ["one", "many"])
def test_saved_data_sets(folder: Path, name: str) -> None:
    assert list(Hub(name, folder=str(folder)).documents()) == ["eins", "zwei"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "many", "split": "test"}, r"split: many has no 'test' \(splits: train\)"),
        ({"path": "one", "column": "body"}, r"there is no column 'body' \(columns: text, label\)"),
        ({"path": "one", "column": "label"}, "column 'label' holds 0, which is not text"),
        ({"path": "one", "revision": "main"}, "config, revision: are for data sets on the hub"),
        ({"path": "other"}, "path: 'other' is no folder here and cannot be loaded: "),
    ],
)
def test_errors(folder: Path, settings: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        list(Hub(**settings, folder=str(folder)).documents())
    assert "\n" not in str(caught.value)


def test_the_fingerprint_of_a_folder_follows_its_content_and_not_its_use(folder: Path) -> None:
    before = Hub("one", folder=str(folder)).fingerprint()
    list(Hub("one", folder=str(folder)).documents())
    assert Hub("one", folder=str(folder)).fingerprint() == before
    assert Hub("one", column="label", folder=str(folder)).fingerprint() != before
    datasets.Dataset.from_dict({"text": ["drei"], "label": [2]}).save_to_disk(folder / "one")
    assert Hub("one", folder=str(folder)).fingerprint() != before


def test_a_commit_pins_hub_data_without_loading_it() -> None:
    first, second = (Hub("owner/name", revision=digit * 40).fingerprint() for digit in "ab")
    assert first != second


def test_a_stream_needs_a_commit_and_is_the_same_data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for settings in ({"path": "owner/name"}, {"path": "owner/name", "revision": "main"}, {"path": "one"}):
        with pytest.raises(UserError, match="streaming: reads a data set on the hub; give its commit"):
            Hub(**settings, streaming=True, folder=str(folder))
    asked = []

    def load(path: str, config: str | None, **settings: object) -> datasets.IterableDataset:
        asked.append((path, settings))
        return datasets.Dataset.from_dict(ROWS).to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", load)
    whole, stream = (Hub("owner/name", revision="a" * 40, streaming=each) for each in (False, True))
    assert whole.fingerprint() == stream.fingerprint()
    assert asked == []  # planning loads nothing
    assert list(stream.documents()) == ["eins", "zwei"]
    assert asked == [("owner/name", {"split": "train", "revision": "a" * 40, "streaming": True})]


@pytest.mark.parametrize(("name", "size"), [("one", 1), ("many", 1)])
def test_a_folder_says_its_size(folder: Path, name: str, size: int) -> None:
    assert Hub(name, folder=str(folder)).size() >= size
    assert Hub("owner/name", revision="a" * 40).size() == 0
