"""A key covers everything that can change a result, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cl.graph import node
from tests.support.graph import BOTH, RETAIN, keys, of_pretrained, planned, write_pretrained
from tests.support.instruction import write_stream
from tests.support.nodes import evaluated
from tests.support.teaching import with_mode
from tests.support.training import plan, write_toy


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For what planning alone shows."""
    return write_stream(tmp_path_factory.mktemp("planned"))


def test_memory_is_in_the_key_by_what_can_change_it(stream: Path) -> None:
    def memory(setting: str) -> tuple[str, str]:
        planned, _ = plan(stream, f"--strategies={{reglora: {{reglora: {setting}}}}}")
        node = planned.runs[0].stages[1].node
        return next(p.key for role, p in node.parents.items() if role.kind == "memory"), node.key

    plain, weighted, wider = memory("{}"), memory("{weight: 5}"), memory("{keep: 0.5}")
    assert plain[0] == weighted[0] != wider[0]
    assert len({plain[1], weighted[1], wider[1]}) == 3


def test_a_node_of_two_gpus_says_so_and_its_key_does_not(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "toy")
    gpu = ["--train.device=cuda"]
    (one, two) = (plan(folder, *gpu, f"--train.devices={n}")[0].runs[0] for n in (1, 2))
    assert [run.stages[0].node.gpus for run in (one, two)] == [1, 2]
    assert two.rows[1].gpus == 1  # rows of R are measured by one
    assert one.key == two.key


EVERYTHING = {"english", "finetune german", "replay german"}


def train_keys(*overrides: str) -> dict[str, str]:
    """Keys of the three train nodes that finetune and rewarm_replay have together."""
    plain, replay = planned(BOTH, *overrides).runs
    (english, german), (shared, replayed) = keys(plain), keys(replay)
    assert english == shared
    return {"english": english, "finetune german": german, "replay german": replayed}


def differing(first: dict[str, str], second: dict[str, str]) -> set[str]:
    return {name for name in first if first[name] != second[name]}


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        *[
            (f"--{setting}", EVERYTHING)
            for setting in (
                "train.lr=1e-3",
                "train.weight_decay=0",
                "train.betas=[0.9, 0.99]",
                "train.eps=1e-6",
                "train.clip=0.5",
                "train.batch=2",
                "train.micro_batch=2",
                "train.sequence=16",
                "train.boundaries=false",
                "train.precision=bf16",
                "train.gradient_checkpointing=true",
                "train.attention=varlen",
                "seeds=[1]",
                "model.name=neox-tiny",
                "model.vocabulary=310",
                "tokens=2048",
                "tokens={english: 2048, german: 1024}",
            )
        ],
        ("--tokens={english: 1024, german: 2048}", {"finetune german", "replay german"}),
        ("--strategies.rewarm_replay.rewarm_cosine.floor=0.2", {"replay german"}),
        ("--strategies.finetune.constant.ratio=0.5", {"finetune german"}),
        ("--strategies.finetune.constant.ratio=1.0", set()),  # what it is anyway, written out
        ("--strategy.replay.share=0.5", {"replay german"}),
        ("--strategy.replay.max_epochs=2", {"replay german"}),
        ("--strategy.replay.reshuffle=3", {"replay german"}),
        ("--by_task.german.train.lr=1e-4", {"finetune german", "replay german"}),
        ("--by_task.german.strategy.replay.share=0.5", {"replay german"}),
        ("--by_task.german.strategies.finetune.constant.ratio=0.5", {"finetune german"}),
        ("--by_task.german.train.lr=3e-3", set()),  # what it is anyway
        *[
            (f"--{setting}", set())
            for setting in (
                "evaluation.tokens=1024",
                "evaluation.batch=2",
                "evaluation.probe_tokens=64",
                "evaluation.points=0",
                "evaluation.share=0",
                "checkpoints.seconds=1",
                "checkpoints.steps=1",
                "checkpoints.share=0.5",
                "checkpoints.background=false",
                "tracking.uri=http://localhost:5000",
                "train.attention=sdpa",  # what auto chooses for short rows
                "train.devices=2",
                "train.nodes=2",
                "train.distributed=fsdp",
                "launcher=ray",
                "cluster.cpus=2",
                "store=elsewhere",
                "output=elsewhere",
                "name=another",
                "question=Why?",
            )
        ],
    ],
)
def test_the_key_covers_everything_and_nothing_else(toy: Path, override: str, changed: set[str]) -> None:
    assert differing(train_keys(), train_keys(override)) == changed


def test_a_label_is_only_a_name(toy: Path) -> None:
    named, labelled = planned(), planned("--strategies={mine: {from: finetune}}")
    assert keys(named.runs[0]) == keys(labelled.runs[0])
    assert named.runs[0].key == labelled.runs[0].key


@pytest.mark.parametrize(
    ("edit", "changed"),
    [
        (lambda: append("languages.yaml", "# a comment\n"), set()),
        (lambda: replace("languages.yaml", "two toy languages", "two languages"), set()),
        (lambda: append("english.txt", "\n\nOne more."), EVERYTHING),
        (lambda: append("german.txt", "\n\nEins mehr."), EVERYTHING),  # the tokenizer is trained on it
        (lambda: replace("languages.yaml", "test: 0.1", "test: 0.2"), EVERYTHING),
        (lambda: append("languages.yaml", RETAIN), set()),
    ],
    ids=["comment", "summary", "english", "german", "split", "retain"],
)
def test_what_of_a_scenario_a_key_covers(toy: Path, edit: Any, changed: set[str]) -> None:
    Path("kept.txt").write_text("Kept apart.\n\nAnother.", encoding="utf-8")
    before = train_keys()
    edit()
    assert differing(before, train_keys()) == changed


def test_rows_of_r_cover_what_is_measured(toy: Path) -> None:
    before = planned().runs[0].rows
    assert list(before) == [0, 1, 2]
    for override, same in (
        ("--evaluation.tokens=1024", False),
        ("--evaluation.batch=2", False),
        ("--evaluation.points=1", True),
        ("--evaluation.probe_tokens=64", True),
    ):
        after = planned(override).runs[0].rows
        assert [before[t].key == after[t].key for t in before] == [same] * 3
    Path("kept.txt").write_text("Kept apart.\n\nAnother.", encoding="utf-8")
    append("languages.yaml", RETAIN)
    after = planned().runs[0].rows
    assert evaluated(after[0]).sets == ("english", "german", "kept")
    assert all(before[t].key != after[t].key for t in before)


def test_a_key_covers_the_code_that_the_node_executes(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, set[str]] = {}

    def code(entries: tuple[str, ...], released: str) -> str:
        asked[entries[0]] = asked.get(entries[0], set()) | set(entries[1:])
        return "code"

    monkeypatch.setattr(node, "code_version", code)
    assert planned(BOTH).nodes
    assert asked == {
        "cl.steps.tokenizer:run": {"scenarios.sources.files:Files"},
        "cl.steps.data:run": {"scenarios.sources.files:Files"},
        "cl.steps.base:run": set(),
        "cl.steps.train:run": {  # replay acts on shares, which are in the key
            "strategies.schedules.rewarm:Constant",
            "strategies.schedules.rewarm:RewarmCosine",
        },
        "cl.steps.evaluate:run": set(),  # nothing is answered, so no score of answers is executed
    }


@pytest.fixture
def pretrained(toy: Path) -> Path:
    write_pretrained()
    return toy / "model"


def test_the_key_of_a_pretrained_model_is_its_content(pretrained: Path) -> None:
    before = of_pretrained()
    assert of_pretrained("--seeds=[1]").base.key == before.base.key
    append("german.txt", "\n\nEins mehr.")
    after = of_pretrained()
    assert after.base.key == before.base.key  # its tokenizer comes with it
    assert after.data["english"].key == before.data["english"].key
    assert after.data["german"].key != before.data["german"].key
    pretrained.rename("moved")
    assert planned("--model={name: ./moved, knows: [english]}", BOTH).base.key == before.base.key
    config = json.loads(Path("moved/config.json").read_text())
    Path("edited").mkdir()
    for file in Path("moved").iterdir():
        (Path("edited") / file.name).write_bytes(file.read_bytes())
    Path("edited/config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.1}))
    assert planned("--model={name: ./edited, knows: [english]}", BOTH).base.key != before.base.key


def append(file: str, text: str) -> None:
    with Path(file).open("a", encoding="utf-8") as stream:
        stream.write(text)


def replace(file: str, old: str, new: str) -> None:
    text = Path(file).read_text(encoding="utf-8")
    assert old in text
    Path(file).write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize("mode", ["cache_hidden", "cache_sampled"])
def test_a_cache_is_in_no_key_of_weight_rate_or_schedule_but_in_that_of_its_model(mode: str, tmp_path: Path) -> None:
    folder = with_mode(tmp_path, mode)
    graph, _ = plan(folder)
    again, _ = plan(folder, "--train.lr=0.0007", "--strategy.self_distillation.weight=0.1")
    caches, later = ({n.key for n in g.nodes if n.kind == "teacher"} for g in (graph, again))
    assert caches == later
    assert len(caches) == 2  # a data set each: the base model teaches both stages
    previous, _ = plan(folder, "--strategy.self_distillation.teacher=previous")
    others = {n.key for n in previous.nodes if n.kind == "teacher"}
    assert len(others) == 2
    assert len(others & caches) == 1  # the first stage's previous model is the base model
    longer, _ = plan(folder, "--seeds=[1]")
    assert not {n.key for n in longer.nodes if n.kind == "teacher"} & caches  # other rows, another initial model
