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
