"""Planning: which nodes an experiment asks for, which they share, and what a key covers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cl.config import loading
from cl.errors import UserError
from cl.graph import node, planner
from cl.graph.planner import Graph, RunPlan

RETAIN = '\nretain:\n  kept: {sources: [{source: files, path: kept.txt, separator: "\\n\\n"}]}\n'
BOTH = "--strategies={finetune: , rewarm_replay: }"
EVERYTHING = {"english", "finetune german", "replay german"}


def planned(*overrides: str) -> Graph:
    return planner.build(loading.load("toy.yaml", list(overrides)))


def by_label(found: Graph) -> dict[str, RunPlan]:
    return {run.strategy.label: run for run in found.runs}


def keys(run: RunPlan) -> list[str]:
    return [stage.node.key for stage in run.stages]


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
                "tracking.uri=http://localhost:5000",
                "train.devices=2",
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
    assert after[0].spec["sets"] == ["english", "german", "kept"]
    assert all(before[t].key != after[t].key for t in before)


def test_a_key_covers_the_code_that_the_node_executes(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, set[str]] = {}

    def code(modules: tuple[str, ...]) -> str:
        asked[modules[0]] = asked.get(modules[0], set()) | set(modules)
        return "code"

    monkeypatch.setattr(node, "code_version", code)
    assert planned(BOTH).nodes
    assert asked == {
        "cl.steps.tokenizer": {"cl.steps.tokenizer", "scenarios.sources.files"},
        "cl.steps.data": {"cl.steps.data", "scenarios.sources.files"},
        "cl.steps.base": {"cl.steps.base"},
        "cl.steps.train": {
            "cl.steps.train",
            "strategies.schedules.rewarm",
        },  # replay acts on shares, which are in the key
        "cl.steps.evaluate": {"cl.steps.evaluate"},
    }


def test_strategies_share_what_they_have_in_common(toy: Path) -> None:
    found = planned("--strategies={finetune: , rewarm: , rewarm_replay: , scratch: , rewarm_keep: }")
    runs = by_label(found)
    assert len({keys(run)[0] for run in runs.values()}) == 1
    assert len({keys(run)[1] for run in runs.values()}) == 5
    assert (found.asked, len({key for run in found.runs for key in keys(run)})) == (10, 6)
    assert len({run.rows[1].key for run in runs.values()}) == 1
    kinds = [n.kind for n in found.nodes]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "tokenizer": 1,
        "data": 2,
        "base": 1,
        "train": 6,
        "evaluate": 7,
    }
    position = {n.key: i for i, n in enumerate(found.nodes)}
    assert all(position[p.key] < position[n.key] for n in found.nodes for p in n.parents.values())


def test_of_a_shared_node_all_is_kept_that_any_run_needs(toy: Path) -> None:
    found = planned("--strategies={rewarm: , rewarm_keep: }")
    (shared,) = [n for n in found.nodes if n.name == "english" and n.kind == "train"]
    assert shared.needs == {"optimizer.safetensors"}
    assert shared.local["keep_optimizer"] is True


def test_replay_of_nothing_is_no_replay(toy: Path) -> None:
    runs = by_label(planned("--strategies={rewarm: , rewarm_replay: {replay: {share: 0.0}}}"))
    assert keys(runs["rewarm"]) == keys(runs["rewarm_replay"])


def test_replay_reads_old_data_in_place_of_new(toy: Path) -> None:
    english, german = planned("--strategies={rewarm_replay: {replay: {share: 0.25}}}").runs[0].stages
    assert english.node.spec["shares"] == {"english": 1.0}
    assert german.node.spec["shares"] == {"german": 0.75, "replay:english": 0.25}
    assert {role for role in german.node.parents if role.startswith("data/")} == {"data/english", "data/german"}
    assert (english.node.cost, german.node.cost, german.parent) == (1024, 1024, english)
    assert german.before.tokens == {"english": 1024}
    assert german.after.tokens == {"english": 1024 + 256, "german": 768}


def test_an_infinite_schedule_is_a_trunk_with_a_fork_per_task(toy: Path) -> None:
    stages = planned("--strategies={infinite_cosine: }").runs[0].stages
    parents = {stage.stage.name: stage.node.parents["state"].name for stage in stages}
    assert parents == {
        "english trunk": "llama-tiny",
        "english anneal": "english trunk",
        "german trunk": "english trunk",
        "german anneal": "german trunk",
    }
    assert [stage.stage.row for stage in stages] == [None, 1, None, 2]
    assert [bool(stage.node.needs) for stage in stages] == [True, False, True, False]
    assert [stage.node.spec["optimizer"] for stage in stages] == ["reset", "keep", "keep", "keep"]
    steps = [(stage.node.spec["first"], stage.node.spec["last"]) for stage in stages]
    assert steps == [(0, 7), (7, 8), (0, 7), (7, 8)]  # 85 % of 8 steps
    assert [stage.parent for stage in stages] == [None, stages[0], stages[0], stages[2]]


def test_joint_training_is_one_stage_whatever_the_order(toy: Path) -> None:
    first, second = planned("--strategies={joint: }", "--orders=[[english, german], [german, english]]").runs
    (stage,) = first.stages
    assert stage.node.spec["shares"] == {"english": 0.5, "german": 0.5}
    assert (stage.node.cost, stage.stage.row, list(first.rows)) == (2048, 2, [0, 2])
    assert keys(first) == keys(second)
    assert list(first.stages[0].node.spec["shares"]) == list(second.stages[0].node.spec["shares"])


def test_from_scratch_every_task_starts_from_the_base_model(toy: Path) -> None:
    found = planned("--strategies={finetune: , scratch: }")
    assert [s.node.parents["state"].key for s in by_label(found)["scratch"].stages] == [found.base.key] * 2


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
    """A Llama of 0.02 M parameters with its tokenizer, as `save_pretrained` leaves them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator([], trainers.BpeTrainer(special_tokens=["<eos>"], initial_alphabet=alphabet))
    PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<eos>").save_pretrained("model")
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    LlamaForCausalLM(LlamaConfig(vocab_size=260, **shape)).save_pretrained("model")
    return toy / "model"


def of_pretrained(*overrides: str) -> Graph:
    return planned("--model={name: ./model, knows: [english]}", BOTH, *overrides)


def test_what_a_pretrained_model_knows_is_not_trained(pretrained: Path) -> None:
    plain, replay = of_pretrained().runs
    (stage,) = plain.stages
    assert (plain.known, stage.stage.name, stage.stage.t, list(plain.rows)) == (1, "german", 2, [1, 2])
    assert stage.node.parents["state"].kind == "base"
    assert replay.stages[0].node.spec["shares"] == {"german": 0.95, "replay:english": 0.05}
    assert replay.stages[0].before.accounts["english"].proxy


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


def append(file: str, text: str) -> None:
    with Path(file).open("a", encoding="utf-8") as stream:
        stream.write(text)


def replace(file: str, old: str, new: str) -> None:
    text = Path(file).read_text(encoding="utf-8")
    assert old in text
    Path(file).write_text(text.replace(old, new), encoding="utf-8")


def memories(settings: str) -> dict[str, list[str]]:
    """By stage, the states that what is remembered there was taken of, newest first."""
    found = {}
    for plan in planned(settings).runs[0].stages:
        node = next((parent for role, parent in plan.node.parents.items() if role.startswith("memory/")), None)
        chain = []
        while node is not None:
            chain.append(node.parents["state"].name)
            node = node.parents.get("memory")
        found[plan.stage.name] = chain
    return found


def test_what_is_remembered_is_taken_of_the_stages_before(toy: Path) -> None:
    assert memories("--strategies={ewc: }") == {"english": [], "german": ["english"]}
    assert memories("--strategies={finetune: }") == {"english": [], "german": []}


def test_a_fork_remembers_what_its_trunk_does(toy: Path) -> None:
    (toy / "strategies").mkdir()
    (toy / "strategies" / "held.yaml").write_text("{summary: s, paper: p, keeps: k, methods: [inf_cosine, ewc]}")
    assert memories("--strategies={held: }") == {
        "english trunk": [],
        "english anneal": [],
        "german trunk": ["english trunk"],
        "german anneal": ["english trunk"],
    }


def test_joint_and_scratch_have_nothing_to_remember(toy: Path) -> None:
    (toy / "strategies").mkdir()
    for name, first in (("held_joint", "joint"), ("held_scratch", "scratch")):
        text = f"{{summary: s, paper: p, keeps: k, methods: [{first}, rewarm_cosine, ewc]}}"
        (toy / "strategies" / f"{name}.yaml").write_text(text)
        assert all(chain == [] for chain in memories(f"--strategies={{{name}: }}").values())
