"""The closed-book probe gives what the row of R gives, and values inside a stage; a control is never read."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl.errors import UserError
from cl.probes.closed_book import ClosedBook
from tests.support.reading import write_reading
from tests.support.training import plan, run, write_toy


@pytest.mark.slow
def test_it_measures_what_a_row_measures_and_between_the_rows(tmp_path: Path) -> None:
    folder = write_reading(tmp_path, probes={"closed_book": {"items": 6}}, probe_steps=[1])
    (found,) = run(folder, "--train.lr=1e-2", "--examples.form=320")["runs"]
    for row, cells in found["matrix"].items():
        measured = found["probes"]["closed_book"][row]
        assert list(measured) == ["first", "second", "unread"]
        for name, values in measured.items():
            assert values == {key: cells[name]["scores"][key] for key in values}
    assert found["probes"]["closed_book"]["1"]["first"]["f1"] > 0  # the form of answers is learned: figs
    places = {(each["row"], each["step"]) for each in found["inside"]}
    assert places == {(1, 1), (2, 1), (3, 1)}


def test_settings_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="items: 0 must be at least 1"):
        ClosedBook(items=0)
    folder = write_toy(tmp_path, probes={"closed_book": None})
    with pytest.raises(UserError, match=r"probes.closed_book: has no effect: no task is of kind reading; remove it"):
        plan(folder)
