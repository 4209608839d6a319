from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from cl.errors import UserError
from cl.methods import strategy
from cl.methods.method import InSomeTasks, Remembers, Stage, Trains
from cl.methods.strategy import build
from cl.registry import Named

TWICE = """\
summary: two schedules
methods:
  - rewarm_cosine: {tasks: first, floor: 0.2}
  - rewarm_cosine: {tasks: later}
  - replay
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("strategies").mkdir()
    Path("strategies/twice.yaml").write_text(TWICE, encoding="utf-8")
    return tmp_path


def chosen(found: strategy.Strategy, *keys: str) -> list[list[Any]]:
    return [[part.settings[key] for key in keys if key in part.settings] for part in found.parts]


def test_a_named_strategy() -> None:
    found = build("twice")
    assert [part.name for part in found.parts] == ["rewarm_cosine", "rewarm_cosine", "replay"]
    assert (found.label, found.summary, found.paper) == ("twice", "two schedules", "")
    assert chosen(found, "tasks", "floor") == [["first", 0.2], ["later", 0.1], ["all"]]


def test_defaults_are_written_out_so_that_equal_settings_are_equal() -> None:
    short = strategy.build_part("replay", {}, "here")
    long = strategy.build_part("replay", {"share": 0.05, "max_epochs": 1.0, "tasks": "all", "reshuffle": None}, "here")
    assert short.named() == long.named()
    assert short.settings["share"] == short.method.share == 0.05  # type: ignore[attr-defined]


@dataclass(eq=False)
class Own(Remembers):
    memory_settings: ClassVar[tuple[str, ...]] = ("size",)

    size: int = 3
    weight: float = 1.0

    def inactive_settings(self, t: int) -> tuple[str, ...]:
        return ("weight",) if t == 1 else ()


class Undecorated(Trains):
    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight


class Hidden(InSomeTasks):
    """Derives from a dataclass, so it has fields; its own setting is none of them."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight


def test_a_part_names_the_method_with_the_settings_in_question() -> None:
    name = f"{__name__}:Own"
    part = strategy.build_part(name, {"weight": 2}, "here")
    assert part.named() == Named(name, {"size": 3, "weight": 2.0})
    assert part.of_settings(Own.memory_settings) == Named(name, {"size": 3})
    assert part.in_stage(1) == Named(name, {"size": 3})
    assert part.in_stage(2) == part.named()
    assert isinstance(strategy.build_method(part.named(), "a stage"), Own)


@pytest.mark.parametrize("cls", [Undecorated, Hidden])
def test_a_setting_that_no_key_would_hold_is_refused(cls: type) -> None:
    with pytest.raises(UserError, match=f"here: .*:{cls.__name__} is not a dataclass, whose fields are its settings"):
        strategy.build_part(f"{__name__}:{cls.__name__}", {"weight": 2.0}, "here")


def test_changes_go_to_the_last_entry_of_a_method() -> None:
    assert chosen(build("twice", {"rewarm_cosine": {"floor": 0.5}}), "floor") == [[0.2], [0.5], []]
    assert chosen(build("twice", {}, {"rewarm_cosine": {"floor": 0.5}}), "floor") == [[0.2], [0.5], []]


def test_a_label_stands_for_another_strategy_and_what_is_set_for_all_wins() -> None:
    found = build("more", {"from": "twice", "replay": {"share": 0.5}}, {"replay": {"share": 0.1, "max_epochs": 2.0}})
    assert found.label == "more"
    assert chosen(found, "share", "max_epochs")[2] == [0.1, 2.0]
    assert chosen(build("twice"), "share", "max_epochs")[2] == [0.05, 1.0]


def test_settings_shared_by_all_skip_a_strategy_without_the_method() -> None:
    assert chosen(build("finetune", None, {"replay": {"share": 0.5}}), "share") == [[], []]


@pytest.mark.parametrize(
    ("label", "changes", "message"),
    [
        ("twise", {}, "strategies: 'twise' is unknown; did you mean 'twice'?"),
        ("more", {"from": "twise"}, "strategies: 'twise' is unknown; did you mean 'twice'?"),
        ("twice", {"replya": {}}, "strategies.twice: method: 'replya' is unknown; did you mean 'replay'?"),
        (
            "twice",
            {"replay": {"shar": 1}},
            "strategies.twice.replay: setting of replay: 'shar' is unknown; did you mean",
        ),
        ("twice", {"replay": {"share": "x"}}, "strategies.twice.replay: share: 'x' is not of type float"),
        ("twice", {"replay": {"share": 1.5}}, "strategies.twice.replay: share: 1.5 "),
        ("twice", {"replay": 0.5}, "strategies.twice.replay: 0.5 must be settings as `key: value`"),
    ],
)
def test_a_mistake_in_an_experiment_is_told(label: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as told:
        build(label, changes)
    assert str(told.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: []", "strategy bad: key: 'method' is unknown; did you mean 'methods'?"),
        ("methods: [3]", "strategy bad: methods: 3 must be a name or one `name: settings` pair"),
        ("methods: [{replay: {}, joint: {}}]", "strategy bad: methods: {'replay': {}, 'joint': {}} must be a name"),
        ("methods: [replay: 3]", "strategy bad: methods: replay: 3 must be settings as `key: value`"),
        ("methods: [replai]", "strategies.bad.replai: methods: 'replai' is unknown; did you mean 'replay'?"),
        (
            "methods: ['json:JSONDecoder']",
            "strategies.bad.json:JSONDecoder: 'json:JSONDecoder' is no class of methods: it lacks what",
        ),
    ],
)
def test_a_mistake_in_a_strategy_file_is_told(text: str, message: str) -> None:
    Path("strategies/bad.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as told:
        build("bad")
    assert str(told.value).startswith(message)


def test_only_what_acts_inside_training_is_in_a_key() -> None:
    found = build("twice")
    assert [isinstance(part.method, Trains) for part in found.parts] == [True, True, False]
    assert [part.settings["tasks"] for part in found.active(Stage("a", {}, 1, 1, None, 1))] == ["first"]
    assert [part.settings["tasks"] for part in found.active(Stage("b", {}, 2, 1, 0, 2))] == ["later"]


def test_warnings_name_strategy_and_method() -> None:
    (warning,) = build("more", {"from": "twice", "replay": {"share": 0.0}}).warnings
    assert warning == "more: replay: share 0 is equivalent to plain fine-tuning"


def test_a_strategy_without_methods_is_plain_training() -> None:
    Path("strategies/plain.yaml").write_text("summary: nothing\nmethods:\n", encoding="utf-8")
    assert build("plain").parts == []


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (["osf", {"optimizer_state": {"policy": "keep"}}], "osf: each stage trains other parameters"),
        (["seq_star", {"optimizer_state": {"policy": "keep"}}], "seq_star: each stage trains other parameters"),
        ([{"lora": {"life": "alone"}}, "reglora"], "reglora: adapters of life alone do not meet"),
        ([{"lora": {"life": "alone"}}, "n_lora"], "n_lora: adapters of life alone do not meet"),
    ],
)
def test_methods_that_mean_nothing_together_are_refused(methods: list[Any], message: str) -> None:
    Path("strategies/both.yaml").write_text(yaml.safe_dump({"summary": "both", "methods": methods}), encoding="utf-8")
    with pytest.raises(UserError, match=f"strategies.both: {message}"):
        build("both")
