"""Retain sets of lm-evaluation-harness in a scenario: their settings, and what enters keys."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from cl.errors import UserError
from cl.tasks import harness, scenario
from cl.tasks.harness import HarnessTask, content_of

TASK = """
task: colours
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/colours.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
metadata: {{version: 3.0}}
"""
DOCUMENTS = """
{"question": "What is the colour of grass?", "choices": ["green", "red or so"], "answer": 0}
{"question": "What is the colour of blood?", "choices": ["green", "red or so"], "answer": 1}
{"question": "What is the colour of leaves?", "choices": ["green", "red or so"], "answer": 0}
"""


def write_task(folder: Path) -> Path:
    """A folder with a task of the harness and its documents."""
    folder.mkdir(parents=True)
    (folder / "colours.yaml").write_text(TASK.format(folder=folder.resolve()), encoding="utf-8")
    (folder / "colours.jsonl").write_text(DOCUMENTS.lstrip(), encoding="utf-8")
    return folder


def load(folder: Path, **settings: Any) -> scenario.Scenario:
    (folder / "english.txt").write_text("Some text.\n")
    sources = [{"source": "files", "path": "english.txt"}]
    content = {"summary": "toy", "version": 1, "tasks": {"english": {"sources": sources}}}
    own = {"english" if settings.pop("clash", False) else "colours": {"source": "lm_eval", **settings}}
    (folder / "toy.yaml").write_text(yaml.safe_dump({**content, "retain": {"text": {"sources": sources}, **own}}))
    return scenario.load(str(folder / "toy.yaml"))


def test_a_set_of_the_harness_stands_apart_from_text(tmp_path: Path) -> None:
    write_task(tmp_path / "own")
    found = load(tmp_path, task="colours", limit=2, include="own")
    assert list(found.retain) == found.measured == ["text"]
    assert found.harness == {"colours": HarnessTask("colours", "colours", 2, str((tmp_path / "own").resolve()))}
    assert str(found.harness["colours"]) == "the first 2 documents of the task colours of lm-evaluation-harness"
    assert load(tmp_path, task="hellaswag").harness["colours"] == HarnessTask("colours", "hellaswag")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"retain\.colours\.task: None must name a task"),
        ({"task": "a", "limit": 0}, r"retain\.colours\.limit: 0 must be a number of documents"),
        ({"task": "a", "limit": "5kB"}, r"retain\.colours\.limit: '5kB' must be a number of documents"),
        ({"task": "a", "include": "none"}, r"retain\.colours\.include: 'none' must be a folder of tasks"),
        ({"task": "a", "shots": 5}, "has no setting 'shots', but source, task, limit, include"),
        ({"task": "a", "clash": True}, "retain: 'english' is also the name of another set"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(tmp_path, **settings)


def test_the_harness_is_not_a_task_of_the_stream(tmp_path: Path) -> None:
    content = {"summary": "toy", "version": 1, "tasks": {"a": {"source": "lm_eval", "task": "hellaswag"}}}
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=r"tasks\.a"):
        scenario.load(str(tmp_path / "toy.yaml"))


def test_without_the_harness_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(UserError, match=r"retain\.x: source lm_eval needs lm-eval; pip install 'cl\[lm-eval\]'"):
        HarnessTask("x", "hellaswag").spec()


def test_the_specification_holds_the_versions_and_the_files(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="pip install 'cl[lm-eval]'")
    folder = write_task(tmp_path / "own")
    found = HarnessTask("x", "colours", 2, str(folder)).spec()
    assert (found.harness, found.version, found.limit) == (importlib.metadata.version("lm-eval"), "3.0", 2)
    assert found.content == content_of(folder)
    with (folder / "colours.jsonl").open("a") as file:
        file.write("\n")
    assert found.content != content_of(folder)
    with pytest.raises(UserError, match=r"retain\.x\.task: there is no task 'other' in"):
        HarnessTask("x", "other", None, str(folder)).spec()


@pytest.mark.slow
def test_tasks_that_come_with_the_harness_are_known() -> None:
    pytest.importorskip("lm_eval", reason="pip install 'cl[lm-eval]'")
    assert HarnessTask("x", "hellaswag", 500).spec().version == "1.0"
    assert "mmlu" not in harness._versions(None)  # a group
