from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from cl.config.experiment import Experiment
from cl.config.loading import load, parse, settings
from cl.config.model import Model
from cl.config.train import Train
from cl.errors import UserError

RAW: dict[str, Any] = {
    "name": "toy",
    "scenario": "languages",
    "model": {"name": "llama-tiny"},
    "tokens": {"english": 1024, "german": 2048},
    "train": {"lr": 0.003},
    "strategies": {"finetune": None, "more": {"from": "rewarm_replay", "replay": {"share": 0.5}}},
}


@pytest.fixture
def file(toy: Path) -> str:
    return "toy.yaml"


def test_the_file_says_what_differs_from_the_defaults() -> None:
    found = parse(copy.deepcopy(RAW))
    assert found.model == Model("llama-tiny")
    assert found.train == Train(lr=0.003)
    assert found.tokens == {"english": 1024, "german": 2048}
    assert found.strategies == RAW["strategies"]
    assert (found.seeds, found.orders, found.store, found.output) == ([0], None, "store", "results")


def test_the_name_is_that_of_the_file(file: str) -> None:
    assert load(file).name == "toy"
    assert load(file, ["--name=other"]).name == "other"


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("--train.lr=1e-3", "train.lr", 0.001),
        ("--train.lr=2", "train.lr", 2.0),
        ("--train.micro_batch=2", "train.micro_batch", 2),
        ("--train.micro_batch=null", "train.micro_batch", None),
        ("--train.boundaries=false", "train.boundaries", False),
        ("--train.compile=auto", "train.compile", "auto"),
        ("--train.betas=[0.8, 0.9]", "train.betas", (0.8, 0.9)),
        ("--seeds=[3,4]", "seeds", [3, 4]),
        ("--train.lr=1e0", "train.lr", 1.0),
        ("--tokens=4096", "tokens", 4096),
        ("--tokens=2e6", "tokens", 2_000_000),
        ("--tokens={english: 512, german: 1024}", "tokens", {"english": 512, "german": 1024}),
        ("--orders=[[german, english]]", "orders", [["german", "english"]]),
        ("--question=Is 1 = 1?", "question", "Is 1 = 1?"),
        ("--tracking.uri=http://localhost:5000", "tracking.uri", "http://localhost:5000"),
        ("--strategy.replay.share=1e-1", "strategy", {"replay": {"share": 0.1}}),
        ("--strategies.finetune.constant.ratio=0.5", "strategies", {"finetune": {"constant": {"ratio": 0.5}}}),
        ("--strategies.joint=", "strategies", {"finetune": None, "joint": None}),
    ],
)
def test_an_override_replaces_one_value(override: str, path: str, value: object, file: str) -> None:
    found: Any = load(file, [override])
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value)


def test_the_last_of_several_overrides_holds(file: str) -> None:
    assert load(file, ["--train.lr=1", "--train.batch=2", "--train.lr=3"]).train.lr == 3.0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--train.lrr=3", "train.lrr: an experiment has no such setting; did you mean train.lr?"),
        ("--trian.lr=3", "trian.lr: an experiment has no such setting; did you mean train.lr?"),
        ("--lr=3", "lr: an experiment has no such setting; did you mean train.lr?"),
        ("--zzz=3", "zzz: an experiment has no such setting (`cl run --help` lists all)"),
        ("--train.lr=fast", "train.lr: 'fast' is not of type float"),
        ("--train.lr=.nan", "train.lr: nan is not a finite number"),
        ("--train.lr=", "train.lr: is empty; give a value or remove the key"),
        ("--train.lr.x=3", "--train.lr.x: lr holds the value 0.003 and no settings of its own; set lr itself"),
        ("--train=3", "train: must hold settings as `key: value`, not 3"),
        ("--train=", "train: is empty; give a value or remove the key"),
        ("--train.sequence=2.5", "train.sequence: 2.5 is not of type int"),
        ("--train.precision=fp8", "train.precision: 'fp8' is not of type auto or fp32 or bf16"),
        ("--train.betas=[1,2,3]", "train.betas: [1, 2, 3] is not of type list of float, float"),
        ("--train.batch=0", "train.batch: 0 must be positive"),
        ("--train.micro_batch=3", "train.micro_batch: 3 does not divide train.batch = 4"),
        ("--evaluation.share=2", "evaluation.share: 2.0 must be in [0, 1): it is a share of the time"),
        ("--model.knows=english", "model.knows: 'english' is not of type list of str"),
        ("--tokens=many", "tokens: 'many' is not of type int or mapping"),
        ("--tokens.german=2048", "--tokens.german: tokens holds the value 1024 and no settings of its own"),
        ("--strategies=", "strategies: is empty; give a value or remove the key"),
        ("--strategies={}", "strategies: is empty; list at least one"),
        ("--strategies=[finetune]", "strategies: ['finetune'] is not of type mapping"),
        ("--seeds=0", "seeds: 0 is not of type list of int"),
        ("--seeds=[]", "seeds: [] must be different whole numbers of at least 0, one or more"),
        ("--seeds=[0,0]", "seeds: [0, 0] must be different"),
        ("--seeds=[-1]", "seeds: [-1] must be different whole numbers of at least 0"),
        ("--orders=[]", "orders: is empty; leave it out for the scenario's own order"),
        ("--orders=[[a, b], [a, b]]", "orders: [['a', 'b'], ['a', 'b']] holds one order twice; remove one"),
        (
            "--orders=a",
            "orders: 'a' is not of type list of list of str or str or all or latin_square or mapping or none",
        ),
        ("--name=../up", "name: '../up' is used in file names; use only letters, digits, _ - and ."),
        ("--strategies={a/b: {from: joint}}", "strategies: 'a/b' is used in file names; use only letters"),
        ("train.lr=3", "train.lr=3: not understood; settings are given as --key=value"),
        ("--train.lr", "--train.lr: not understood; settings are given as --key=value, with the equals sign"),
    ],
)
def test_a_mistake_is_told_in_one_line(override: str, message: str, file: str) -> None:
    with pytest.raises(UserError) as told:
        load(file, [override])
    assert str(told.value).startswith(message)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("key", ["scenario", "model", "strategies"])
def test_what_every_experiment_states(key: str) -> None:
    raw = {name: value for name, value in RAW.items() if name != key}
    with pytest.raises(UserError, match=rf"^{key}(\.name)?: is missing; every experiment states it$"):
        parse(raw)


def test_an_unknown_experiment_is_told_with_a_guess(toy: Path) -> None:
    Path("experiments").mkdir()
    Path("toy.yaml").rename("experiments/languages_toy.yaml")
    assert load("languages_toy").name == "languages_toy"
    with pytest.raises(UserError, match="'language_toy' is unknown; did you mean 'languages_toy'"):
        load("language_toy")


def test_settings_lists_every_field_with_its_docstring() -> None:
    found = {setting.key: setting for setting in settings()}
    parts = {f.name for f in dataclasses.fields(Train)}
    assert {key.removeprefix("train.") for key in found if key.startswith("train.")} == parts
    assert {key.split(".")[0] for key in found} == {f.name for f in dataclasses.fields(Experiment)}
    assert all(setting.about for setting in found.values())
    assert found["train.lr"].default == "0.001"
    assert found["train.lr"].about == "peak learning rate; schedules multiply it."
    assert (found["train.micro_batch"].type, found["train.micro_batch"].default) == ("int or none", "not set")
    assert (found["scenario"].type, found["scenario"].default) == ("str", None)
    assert found["seeds"].default == "[0]"
