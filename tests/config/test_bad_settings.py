"""Settings that are wrong are refused while planning, whatever group they are in."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cl.config import loading
from cl.errors import UserError
from tests.support.training import write_strategy, write_toy

NINES = [f"&{new} [{','.join([f'*{old}'] * 9)}]" for old, new in zip("abcd", "bcde", strict=True)]
BOMB = f"'[&a [x,x,x,x,x,x,x,x,x],{','.join(NINES)}]'"  # 9 ** 5 values, as a text


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(write_toy(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("order.oracle=secent", "order.oracle: 'secent' is not of type secant or reuse"),
        ("order.readout=cubic", "order.readout: 'cubic' is not of type auto or forward"),
        ("order.orders=[given, last]", r"order.orders\[1\]: 'last' is none of given, reversed, random"),
        ("order.samples=[-1]", r"order.samples: \[-1\] must be numbers of batches"),
        ("order.objective=[]", "order: orders, objective and samples must not be empty lists"),
        ("order.trials=0", "order.trials: 0 must be at least 1"),
        ("order.references=1000000000000", "order.references: 1000000000000 must be at most"),
        ("order.seed=-1", "order.seed: -1 must be at least 0"),
        ("model.vocabulary=-5", "model.vocabulary: -5 must be at least 257"),
        ("model.vocabulary=1000000000000000", "model.vocabulary: 1000000000000000 must be at most"),
        ("tokens=1000000000000000", r"tokens: 1000000000000000 must be at least 1 and at most 1e\+13"),
        ("tokens={english: 3072, german: -1}", "tokens.german: -1 must be at least 1"),
        ("examples=0", "examples: 0 must be at least 1"),
        ("train.sequence=1000000000000000", "train.sequence: 1000000000000000 must be at most"),
        ("train.betas=[0.9, .nan]", r"train.betas\[1\]: nan is not a finite number"),
        ("train.lr='.nan'", "train.lr: nan is not a finite number"),
        ("strategy={replay: {share: .inf}}", "strategy.replay.share: inf is not a finite number"),
        ("by_task={german: {train: {lr: .nan}}}", "by_task.german.train.lr: nan is not a finite number"),
        ("probes={linear: {items: [.nan]}}", r"probes.linear.items\[0\]: nan is not a finite number"),
        ("cluster.slurm={qos: 2026-01-01}", "cluster.slurm.qos: 2026-01-01 is a date in YAML; write it in quotes"),
        ("model.template={1: x}", "model.template: the name 1 is a number, date or truth value in YAML"),
        ("evaluation.points=1000000000", "evaluation.points: 1000000000 must be at most"),
        ("seeds=[4294967296]", "seeds: .* numbers below 4294967296"),
        ("train.lr={value: 1, low: 0.5, high: .inf}", "train.lr.high: inf is not a finite number"),
        ("train.lr={value: 1, low: 0.5, high: 2, step: 0}", "train.lr: step 0 must be above 0"),
        ("evaluation.items={value: 1, low: 0, high: 9, step: 0.5}", "evaluation.items: step 0.5 must be .* whole"),
        ("train.lr={value: 1, low: 0.5, high: 2, log: maybe}", "train.lr: log 'maybe' must be true or false"),
        ("tune.storage=garbage", "tune.storage: 'garbage' is no URL of a database; write sqlite"),
        ("tune.storage=oracle://me:word@host/x", r"tune.storage: 'oracle://me:\*\*\*@host/x' is no URL"),
        ("tune.seed=-1", "tune.seed: -1 must be at least 0"),
        ("output=english.txt/x", "output: 'english.txt' is a file; name a folder"),
        ("output=s3://bucket", "output: 's3://bucket' is a URL; name a folder of this machine"),
        ("store=english.txt", "store: 'english.txt' is a file; name a folder"),
        (f"name={'x' * 201}", "name: .* has 201 bytes; names of files may have 200"),
        (f"store={'x' * 256}", "store: .* is too long for a path"),
        (f"model.name={'x' * 256}", "model.name: .* is too long for a path"),
        (f"strategies={{{'x' * 256}: {{from: finetune}}}}", "strategies: .* has 256 bytes"),
        (f"train.batch={BOMB}", "train.batch: the text holds more than 50,000 values"),
    ],
)
def test_a_wrong_setting_is_refused(toy: Path, setting: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        loading.load("toyexp.yaml", [f"--{setting}"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- 1", "tuned: 'tuned.yaml' holds no values"),
        ("values: {finetune: {'*': 3}}", "tuned: 'tuned.yaml' holds no values"),
        ("values: {finetune: [1]}", "tuned: 'tuned.yaml' holds no values"),
        ("values: {1: {'*': {}}}", "tuned: 'tuned.yaml' holds no values"),
        ("values: {finetune: {'*': {by_task: [1]}}}", "tuned: 'tuned.yaml' holds no values"),
        ("values: !!int abc", "tuned: tuned.yaml, line 1: 'abc' is not of type int; `cl tune` writes one"),
        ("values: {finetune: {'*': {train.lr: .nan}}}", r"tuned.values.finetune.\*.train.lr: nan is not a finite"),
        (
            "{protocol: x, about: a, skip: 0, made_for: {}, values: {finetune: {'*': {train.lr: 1.0}}}}",
            "tuned: .* is not of type",
        ),
        (
            "{protocol: oracle, about: a, skip: 0, made_for: {more: 1}, values: {finetune: {'*': {train.lr: 1.0}}}}",
            "tuned.made_for: 'more' is none of scenario, model",
        ),
        (
            "{protocol: oracle, about: a, skip: -1, made_for: {}, values: {finetune: {'*': {train.lr: 1.0}}}}",
            "tuned.skip: -1 must be at least 0",
        ),
    ],
)
def test_an_odd_file_of_tuned_values_is_refused(toy: Path, content: str, message: str) -> None:
    Path("tuned.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        loading.load("toyexp.yaml", ["--tuned=tuned.yaml"])


@pytest.mark.parametrize("name", ["null", "3", "[a]", "{a: 1}", "x" * 300])
def test_the_strategy_that_another_one_stands_on_is_a_name(toy: Path, name: str) -> None:
    from cl.graph import planner

    experiment = loading.load("toyexp.yaml", [f"--strategies={{own: {{from: {name}}}}}"])
    with pytest.raises(UserError, match=r"strategies"):
        planner.build(experiment)


def test_the_methods_of_a_strategy_are_a_list_and_its_words_are_text(toy: Path) -> None:
    from cl.methods import strategy

    write_strategy(toy, "mine", ["constant"])
    path = toy / "strategies" / "mine.yaml"
    for key, value in (("methods", 3), ("methods", {"constant": None}), ("summary", [1]), ("paper", {"a": 1})):
        path.write_text(yaml.safe_dump({"summary": "s", "methods": ["constant"], key: value}), encoding="utf-8")
        with pytest.raises(UserError, match=rf"strategy mine: {key}: "):
            strategy.build("mine")
