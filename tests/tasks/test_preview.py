"""What a scenario holds, for a person to look at."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.console import Console

from cl.tasks.preview import show
from cl.tasks.scenario import load, split
from tests.support.scenario import write_two


@pytest.fixture
def path(tmp_path: Path) -> str:
    return write_two(tmp_path)


def test_show_prints_sizes_licences_tokens_and_examples(path: str) -> None:
    scenario = load(path)
    console = Console(width=160)
    with console.capture() as captured:
        console.print(show(scenario, lambda text: len(text.split())))
    text = captured.get()
    found = split(scenario.tasks["second"], scenario)
    assert re.search(rf"second \(task\) +│ train +│ +{len(found.train)} │ .* │ +{3 * len(found.train)} │", text)
    example = f"second: {found.test[0]}"
    for expected in ("two tasks", "kept (retain)", "CC0-1.0", "my text", example, "at most 0.002 MB"):
        assert expected in text
