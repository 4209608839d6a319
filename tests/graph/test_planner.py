"""Planning: runs of orders and seeds, what a pretrained model knows, and mistakes told before anything is computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl.errors import UserError
from cl.graph.roles import STATE
from tests.support.graph import keys, of_pretrained, planned, write_pretrained
from tests.support.nodes import trained


def test_orders_and_seeds_make_runs(toy: Path) -> None:
    found = planned("--orders=[[english, german], [german, english]]", "--seeds=[0, 1]")
    assert [(run.order[0], run.seed) for run in found.runs] == [
        ("english", 0),
        ("english", 1),
        ("german", 0),
        ("german", 1),
    ]
    assert len({key for run in found.runs for key in keys(run)}) == 8
    assert len({run.rows[0].key for run in found.runs}) == 2  # the model before training, per seed
    assert found.runs[2].stages[0].node.name == "german"
    assert len({n.key for n in found.nodes if n.kind == "tokenizer"}) == 1


@pytest.fixture
def pretrained(toy: Path) -> Path:
    write_pretrained()
    return toy / "model"


def test_what_a_pretrained_model_knows_is_not_trained(pretrained: Path) -> None:
    plain, replay = of_pretrained().runs
    (stage,) = plain.stages
    assert (plain.known, stage.stage.name, stage.stage.t, list(plain.rows)) == (1, "german", 2, [1, 2])
    assert stage.node.parents[STATE].kind == "base"
    assert trained(replay.stages[0].node).shares == {"german": 0.95, "replay:english": 0.05}
    assert replay.stages[0].before.accounts["english"].proxy


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--orders=[[english]]", "orders: ['english'] must name each task of languages once"),
        ("--orders=[[english, french]]", "orders: ['english', 'french'] must name each task of languages once"),
        ("--orders=[backward]", "orders: order of languages: 'backward' is unknown"),
        ("--tokens={english: 1024, germna: 1024}", "tokens: task: 'germna' is unknown; did you mean 'german'?"),
        ("--tokens={english: 1024}", "tokens.german: is missing; give the training tokens of every task"),
        ("--tokens=100", "tokens.english: 100 is less than one optimizer step"),
        ("--model.knows=[english]", "model.knows: llama-tiny is a fresh model and knows nothing"),
        ("--model.name=./nowhere", "model.name: './nowhere' is no directory"),
        ("--model.name=llama-9m", "model.name: 'llama-9m' is no directory, no hub id (owner/name) and none of"),
        ("--strategy.replay.share=0.1", "strategy.replay: no strategy of this experiment has that method"),
        ("--strategies={finetun: }", "strategies: 'finetun' is unknown; did you mean 'finetune'?"),
        ("--scenario=lang", "scenarios: 'lang' is unknown"),
        ("--scenario=lang.yaml", "scenarios: there is no file 'lang.yaml'"),
    ],
)
def test_a_mistake_is_told_before_anything_is_computed(toy: Path, override: str, message: str) -> None:
    with pytest.raises(UserError) as told:
        planned(override)
    assert str(told.value).startswith(message)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--model.knows=[german]", "model.knows: ['german'] must be the first of the tasks"),
        ("--model.knows=[english, german]", "model.knows: names every task; leave at least one to train"),
        ("--orders=[[german, english]]", "orders: ['german', 'english'] must begin with what the model knows"),
        ("--model.vocabulary=300", "model.vocabulary: 300 has no effect: the tokenizer is not trained"),
    ],
)
def test_a_mistake_about_a_pretrained_model_is_told(pretrained: Path, override: str, message: str) -> None:
    with pytest.raises(UserError) as told:
        of_pretrained(override)
    assert str(told.value).startswith(message)
