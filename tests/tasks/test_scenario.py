from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from cl.errors import UserError
from cl.tasks.scenario import load, size, split
from tests.support.mixture import write_mixture
from tests.support.scenario import write_two


@pytest.fixture
def path(tmp_path: Path) -> str:
    return write_two(tmp_path)


def test_load_reads_all_fields(path: str) -> None:
    found = load(path)
    assert (found.name, found.version, found.summary) == ("two", 3, "two tasks")
    assert (list(found.tasks), list(found.retain)) == (["first", "second"], ["kept"])
    assert (found.validation, found.test, found.seed) == (0.1, 0.2, 5)
    assert (found.tasks["first"].limit, found.tasks["first"].sources[0].limit) == (1_000_000, 2_000)
    assert found.tasks["second"].sources[1].source.licence == "CC0-1.0"
    assert found.task("kept").code() == ("scenarios.sources.files:Files",)


def test_overrides_replace_values_by_dotted_key_or_nested(path: str) -> None:
    found = load(path, {"split.seed": 6, "tasks": {"first": {"limit": 500}}, "tasks.second.limit": "2kB"})
    assert (found.seed, found.test) == (6, 0.2)
    assert (found.tasks["first"].limit, found.tasks["second"].limit) == (500, 2000)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"versions": 1}, r"key: 'versions' is unknown; did you mean 'version'\?"),
        ({"version": "1"}, "version: '1' is not a whole number"),
        ({"split.seed": -1}, "split.seed: -1 is not"),
        ({"split.test": 5}, "split.test: 5 is not a share between 0 and 1"),
        ({"split.validation": 0.0}, "split.validation: 0.0 is not a share"),
        ({"split": {"validation": 0.5, "test": 0.5}}, "leave no documents to train on"),
        ({"split.tset": 0.1}, r"split: key: 'tset' is unknown; did you mean 'test'\?"),
        ({"tasks": []}, "tasks: must hold `key: value` lines, not"),
        (
            {"tasks.first.kind": "image"},
            r"tasks.first.kind: 'image' is unknown .*\(known: instruction, passage, preference, reading, text\)",
        ),
        ({"tasks.first.limit": "6 MiB"}, "tasks.first.limit: '6 MiB' is not a size such as"),
        ({"tasks.first.sources": []}, "tasks.first.sources: must be a list"),
        ({"tasks.first.sources": [{"path": "a.txt"}]}, r"tasks.first.sources\[0\]: names no source"),
        ({"tasks.first.sources": [{"source": "files"}]}, r"tasks.first.sources\[0\]: path: is missing; give a value"),
        ({"tasks.first.sources": [{"source": "web"}]}, r"tasks.first.sources\[0\]: sources: 'web' is unknown"),
        ({"tasks.third.limit": 5}, "tasks.third: key 'sources' is missing"),
        ({"tasks": {"a b": {}}}, "tasks: the name 'a b' may hold letters"),
        (
            {"retain": {"first": {"sources": [{"source": "files", "path": "a.txt"}]}}},
            "retain: 'first' is also the name",
        ),
    ],
)
def test_load_refuses_in_one_line_that_names_the_key(path: str, overrides: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(path, overrides)
    assert "\n" not in str(caught.value)


def test_a_scenario_without_tasks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none.yaml").write_text("summary: x\nversion: 1\ntasks: {}\n", encoding="utf-8")
    with pytest.raises(UserError, match="tasks: there is none"):
        load(str(tmp_path / "none.yaml"))


def test_an_unknown_task_names_the_known_ones(path: str) -> None:
    with pytest.raises(UserError, match=r"'secnd' is unknown; did you mean 'second'\? \(known: first, kept, second\)"):
        load(path).task("secnd")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(300, 300), ("300", 300), ("300 B", 300), ("6MB", 6_000_000), ("1.5 kB", 1500), ("2GB", 2_000_000_000)],
)
def test_size_by_hand(value: object, expected: int) -> None:
    assert size(value, "limit") == expected


@pytest.mark.parametrize("value", [0, -1, "0MB", "6mb", "MB", "", None, True, 0.5])
def test_size_refuses(value: object) -> None:
    with pytest.raises(UserError, match=r"limit: .* is not a size"):
        size(value, "limit")


def test_no_text_is_trained_in_one_place_and_tested_in_another(path: str) -> None:
    scenario = load(path)
    splits = [split(task, scenario) for task in (*scenario.tasks.values(), *scenario.retain.values())]
    trained = {text for found in splits for text in found.train}
    measured = {text for found in splits for text in (*found.validation, *found.test)}
    assert trained
    assert measured
    assert not trained & measured
    assert len(splits[2].train) == 0
    assert set(splits[2].test) == {text for text in splits[1].test if str(text).startswith("second")}


def test_an_empty_split_is_refused(path: str) -> None:
    scenario = load(path, {"tasks.first.limit": 30})
    with pytest.raises(UserError, match=r"first: the \w+ split is empty \(200 documents read, kept \d documents"):
        split(scenario.tasks["first"], scenario)


def test_a_missing_file_is_named_with_its_task(path: str) -> None:
    scenario = load(path, {"tasks.first.sources": [{"source": "files", "path": "c.txt"}]})
    with pytest.raises(UserError, match=r"first: path: there is no file .*c\.txt"):
        split(scenario.tasks["first"], scenario)


@pytest.mark.parametrize(
    ("overrides", "changed"),
    [
        ({"summary": "other words", "version": 4}, set()),
        ({"tasks.first.limit": "2MB"}, {"first"}),
        ({"tasks.first.sources": [{"source": "files", "path": "a.txt", "separator": "\n"}]}, {"first"}),
        ({"split.seed": 6}, {"first", "second", "kept"}),
        ({"split.test": 0.3}, {"first", "second", "kept"}),
        ({"split.validation": 0.3}, {"first", "second", "kept"}),
    ],
)
def test_the_fingerprint_covers_what_decides_the_splits(
    path: str, overrides: dict[str, object], changed: set[str]
) -> None:
    before, after = load(path), load(path, overrides)
    names = ("first", "second", "kept")
    assert {name for name in names if before.fingerprint(name) != after.fingerprint(name)} == changed


def test_the_fingerprint_covers_file_contents_and_being_measured_only(path: str) -> None:
    scenario = load(path)
    before = {name: scenario.fingerprint(name) for name in ("first", "second", "kept")}
    Path(path).with_name("b.txt").write_text("changed", encoding="utf-8")
    after = {name: scenario.fingerprint(name) for name in before}
    assert {name for name in before if before[name] != after[name]} == {"second", "kept"}
    task = scenario.retain["kept"]
    trained = dataclasses.replace(scenario, tasks={"kept": task}, retain={})
    assert trained.fingerprint("kept") != scenario.fingerprint("kept")


def test_orders_are_named_or_written_out(path: str) -> None:
    scenario = load(path, {"orders": {"backward": ["second", "first"]}})
    assert scenario.ordered(None) == [["first", "second"]]
    assert scenario.ordered(["backward", ["first", "second"]]) == [["second", "first"], ["first", "second"]]
    assert scenario.fingerprint("first") == load(path).fingerprint("first")


@pytest.mark.parametrize(
    ("orders", "asked", "message"),
    [
        ({"backward": ["second"]}, None, "must name each task of two once"),
        ({"backward": "second"}, None, r"orders\.backward: 'second' must be a list of the tasks"),
        ({"backward": ["second", 1]}, None, "must name each task"),
        ({}, ["backward"], r"orders: order of two: 'backward' is unknown \(known: none\)"),
        ({"backward": ["second", "first"]}, ["backward", ["second", "first"]], "is there already; remove one"),
    ],
)
def test_orders_that_cannot_be_meant(path: str, orders: Any, asked: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(path, {"orders": orders}).ordered(asked)


PREFERENCES = {"kind": "preference", "sources": [{"source": "examples", "path": "copy.jsonl"}]}


def test_kinds_that_do_not_fit_are_told(tmp_path: Path) -> None:
    write_mixture(tmp_path)
    path = str(tmp_path / "toy.yaml")
    with pytest.raises(UserError, match="put the set under general"):
        load(path, {"retain": {"x": PREFERENCES}})
    with pytest.raises(UserError, match="general: 'german' is also the name of another set"):
        load(path, {"general": {"german": {"sources": [{"source": "files", "path": "german.txt"}]}}})
    wrong = load(path, {"general": {"x": PREFERENCES}})
    with pytest.raises(UserError, match="which yields instruction; set kind: instruction"):
        split(wrong.task("x"), wrong)


@pytest.mark.parametrize("name", ["no", "2020", "2020-01-01", "1.5"])
def test_a_name_that_yaml_reads_as_another_value_has_to_be_quoted(name: str, tmp_path: Path) -> None:
    content = f"summary: x\nversion: 1\ntasks:\n  {name}: {{sources: [{{source: files, path: a.txt}}]}}\n"
    (tmp_path / "s.yaml").write_text(content)
    with pytest.raises(
        UserError, match=r"tasks: the name .* is a number, date or truth value in YAML; write it in quot"
    ):
        load(str(tmp_path / "s.yaml"))
