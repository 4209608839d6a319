"""The page: one file that needs nothing but itself."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from cl.metrics.records import DataResult
from cl.reporting.html.figures import figures
from cl.reporting.html.groups import groups
from cl.reporting.html.page import coloured, data_rows, write
from tests.support.results import experiment, with_runs


def test_page_is_one_file_that_opens_offline(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    result = dataclasses.replace(experiment((0, 1)), question="Is 1 < 2 & <script>alert(1)</script>?")
    write(result, figures(result), path)
    html = path.read_text(encoding="utf-8")
    assert not re.search(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=", html)
    assert html.count("plotly.js v") == 1
    assert "Is 1 &lt; 2 &amp; &lt;script&gt;" in html
    assert "<script>alert(1)" not in html
    for name in figures(result):
        assert html.count(f'id="{re.sub(r"[^A-Za-z0-9_]+", "-", name)}"') == 1
    assert result.command in html
    for run in result.runs:
        assert all(stage.key in html for stage in run.stages)


def test_page_of_a_result_without_runs(tmp_path: Path) -> None:
    write(with_runs(), {}, tmp_path / "report.html")
    assert "nothing to compare yet" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_headline_is_coloured_by_whole_names() -> None:
    html = coloured("With rewarm, and with rewarm_replay_25.", groups(experiment()))
    assert len(re.findall("<b style", html)) == 2
    assert ">rewarm_replay_25</b>" in html


def test_data_rows_count_each_split_and_state_facts_once() -> None:
    splits = {"train": 7, "test": 2}
    entry = DataResult(splits, {"train": 70}, {"train": 9, "test": 3}, ["a source"], "CC0", duplicates=1)
    rows = data_rows({"a": entry})
    assert [row[:2] for row in rows] == [("a", "train"), ("", "test")]
    assert rows[0][2:] == (
        {"documents": 7, "tokens": 9, "bytes": 70},
        {"sources": ["a source"], "licence": "CC0", "duplicates": 1, "held_out": 0},
    )
    assert rows[1][2:] == ({"documents": 2, "tokens": 3, "bytes": None}, {})
