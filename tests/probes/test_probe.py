"""The protocol of a probe: how one is named, and what it reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from cl.errors import UserError
from cl.probes import probe
from cl.probes.linear import Linear
from cl.probes.probe import PROBES, Data
from cl.registry import Named
from tests.support.data_node import SEQUENCE, data_folder
from tests.support.probes import FirstRow


def test_a_shipped_probe_is_built_by_its_name_with_its_defaults() -> None:
    assert probe.build("linear", None) == (Named("linear", {"items": 100}), Linear(100))
    assert probe.build("linear", {"items": 7}) == (Named("linear", {"items": 7}), Linear(7))


@pytest.mark.parametrize("name", PROBES)
def test_a_shipped_probe_says_what_it_reads_and_measures(name: str) -> None:
    _, found = probe.build(name, None)
    assert found.kinds
    assert len({measure.key for measure in found.measures}) == len(found.measures) > 0
    assert all(measure.unit and measure.about.endswith(".") for measure in found.measures)


def test_a_probe_of_the_user_s_own_is_named_by_its_place() -> None:
    name = "tests.support.probes:FirstRow"
    assert probe.build(name, {"factor": 2.0}) == (Named(name, {"factor": 2.0}), FirstRow(2.0))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("linaer", {}, r"probes\.linaer: probes: 'linaer' is unknown; did you mean 'linear'\?"),
        ("linear", {"item": 3}, r"probes\.linear: setting of linear: 'item' is unknown; did you mean 'items'\?"),
        ("linear", {"items": "many"}, r"probes\.linear: items: 'many' is not of type int"),
        ("linear", {"items": 0}, r"probes\.linear: items: 0 must be at least 1"),
        ("tests.support.probes:FirstRow", {"factor": -1.0}, r"FirstRow: factor: -1.0 must be at least 0"),
        ("tests.support.probes:Plain", {}, r"Plain is no cl\.probes\.probe\.Probe in the form of a dataclass"),
        ("tests.support.probes:Hidden", {}, r"Hidden is no cl\.probes\.probe\.Probe in the form of a dataclass"),
        ("tests.support.probes:Other", {}, r"Other' is no class of probes: it lacks what cl\.probes\.probe\.Probe has"),
        (
            "tests.support.probes:Unfinished",
            {},
            r"Unfinished does not define measures and measure; add what is missing",
        ),
        ("tests.support.probes:Absent", {}, r"module 'tests\.support\.probes' has no 'Absent'"),
    ],
)
def test_what_is_no_probe_and_a_wrong_setting_are_told(name: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        probe.build(name, settings)


def test_a_probe_reads_rows_of_any_split(tmp_path: Path) -> None:
    folder = data_folder(tmp_path / "english", rows=3)
    data = Data({"english": folder}, SEQUENCE, "validation")
    rows = data.rows("english", "train")
    assert len(rows) == 3
    stored = load_file(folder / "tokens.safetensors")["train"]
    assert np.array_equal(rows[1].ids.numpy(), stored[SEQUENCE : 2 * SEQUENCE + 1])
