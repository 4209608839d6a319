"""Instruction streams end to end: what is learned, what is scored, what methods keep between tasks."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cl import cli
from cl.config import loading
from cl.data.batches import IGNORE, DialogueRows, Row, collate, rows, segments
from cl.data.tokenization import dialogue
from cl.errors import UserError
from cl.execution import runner
from cl.execution.store import Store
from cl.graph import planner
from cl.graph.planner import Graph
from cl.tasks.example import Example
from cl.training.learner import Learner
from tests.instruction_fixture import write_stream

pytestmark = [pytest.mark.filterwarnings(f"ignore:{name}") for name in ("reglora", "inf_lora")]
SHARING = [
    "lora_sequential",
    "lora_incremental",
    "lora_merged",
    "reglora",
    "o_lora",
    "lora_ewc",
    "lora_mas",
    "lora_replay",
    "lora_lwf",
    "lora_agem",
    "lora_der",
    "lora_alone",
]
LORAS = [*SHARING, "prompt_tuning", "moe_lora", "osf", "n_lora", "inf_lora", "lora_si", "ewc"]


def plan(folder: Path, *settings: str) -> tuple[Graph, Store]:
    with contextlib.chdir(folder):
        planned = planner.build(loading.load("toyexp.yaml", list(settings)))
    return planned, Store(folder / planned.experiment.store)


def run(folder: Path, *settings: str) -> None:
    with contextlib.chdir(folder):
        assert cli.main(["run", "toyexp.yaml", *settings]) == 0


def learn(folder: Path) -> list[Path]:
    """Train the first run's stages, without rows of R and a report; returns the folders of their states."""
    planned, store = plan(folder)
    nodes = [stage.node for stage in planned.runs[0].stages]
    with contextlib.chdir(folder):
        runner.run(runner.pending(nodes, store), store, Quiet())
    return [store.path(node) for node in nodes]


def keys(folder: Path, *settings: str) -> list[list[str]]:
    planned, _ = plan(folder, *settings)
    return [[stage.node.key for stage in each.stages] for each in planned.runs]


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results" / "toyexp" / "results.json").read_text())
    return found


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For what planning alone shows."""
    return write_stream(tmp_path_factory.mktemp("planned"), strategies=dict.fromkeys(LORAS))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_stream(tmp_path_factory.mktemp("stream"), strategies=dict.fromkeys(LORAS))
    run(folder)
    return folder


@pytest.mark.slow
def test_the_first_task_is_trained_once_for_all_lives_and_penalties(done: Path) -> None:
    by_label = {each["strategy"]: [stage["key"] for stage in each["stages"]] for each in result(done)["runs"]}
    assert len({by_label[label][0] for label in SHARING}) == 1
    assert len({by_label[label][1] for label in LORAS}) == len(LORAS)
    assert by_label["ewc"][0] != by_label["lora_ewc"][0]


@pytest.mark.slow
def test_every_answer_is_kept_and_means_are_theirs(done: Path) -> None:
    planned, store = plan(done)
    for each, stored in zip(planned.runs, result(done)["runs"], strict=True):
        for t, node in each.rows.items():
            for name, cell in stored["matrix"][str(t)].items():
                lines = (store.path(node) / "items" / f"{name}.jsonl").read_text().splitlines()
                items = [json.loads(line) for line in lines]
                assert cell["items"] == len(items) == 6
                for score in ("strict", "normalised", "format_ok"):
                    assert cell["scores"][score] == pytest.approx(sum(item[score] for item in items) / 6)


@pytest.mark.slow
@pytest.mark.parametrize("label", ["lora_alone", "prompt_tuning"])
def test_a_task_is_tested_with_its_own_adapter_and_data_without_one_by_the_base_model(done: Path, label: str) -> None:
    planned, _ = plan(done, f"--strategies={{{label}: null}}")
    rows = planned.runs[0].rows
    assert [rows[t].spec.get("select") for t in (0, 1, 2)] == [None, {"copy": "t1"}, {"copy": "t1", "which": "t2"}]
    matrix = next(each["matrix"] for each in result(done)["runs"] if each["strategy"] == label)
    assert matrix["1"]["which"] == matrix["0"]["which"]
    assert matrix["2"]["copy"] == matrix["1"]["copy"] != matrix["0"]["copy"]
    assert matrix["2"]["which"] != matrix["1"]["which"]


@pytest.mark.slow
def test_an_adapter_alone_is_tested_as_the_first_of_any_life(done: Path) -> None:
    alone, sequential = (
        next(each["matrix"] for each in result(done)["runs"] if each["strategy"] == label)
        for label in ("lora_alone", "lora_sequential")
    )
    assert alone["1"]["copy"] == sequential["1"]["copy"]
    assert alone["2"]["copy"] != sequential["2"]["copy"]


def test_osf_that_preserves_nothing_is_full_fine_tuning(stream: Path) -> None:
    (plain,) = keys(stream, "--strategies={ewc: {ewc: {weight: 0}}}")
    assert keys(stream, "--strategies={osf: {osf: {preserve: 0, grow: 0}}}") == [plain]
    (growing,) = keys(stream, "--strategies={osf: {osf: {preserve: 0, grow: 0.5}}}")
    assert (growing[0] == plain[0], growing[1] == plain[1]) == (True, False)


def test_two_methods_that_add_adapters_are_refused(tmp_path: Path) -> None:
    folder = write_stream(tmp_path)
    (folder / "strategies").mkdir()
    (folder / "strategies" / "two.yaml").write_text("{summary: t, paper: p, keeps: k, methods: [lora, prompts]}")
    with pytest.raises(UserError, match=r"strategies\.two: lora and prompts both add adapters; keep one"):
        plan(folder, "--strategies={two: null}")


@pytest.mark.slow
def test_again_nothing_is_executed(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = result(done)["runs"]
    run(done)
    assert result(done)["executed"] == 0
    for old, new in zip(before, result(done)["runs"], strict=True):
        assert old["matrix"] == new["matrix"]


@pytest.mark.parametrize(
    ("label", "neutral", "same"),
    [
        ("reglora", "--strategies={reglora: {reglora: {weight: 0}}}", "lora_merged"),
        ("reglora", "--strategies={reglora: {reglora: {keep: 0}}}", "lora_merged"),
        ("o_lora", "--strategies={o_lora: {o_lora: {orthogonality: 0}}}", "lora_incremental"),
        ("lora_ewc", "--strategies={lora_ewc: {ewc: {weight: 0}}}", "lora_sequential"),
        ("lora_mas", "--strategies={lora_mas: {mas: {weight: 0}}}", "lora_sequential"),
        ("lora_si", "--strategies={lora_si: {si: {weight: 0}}}", "lora_sequential"),
        ("n_lora", "--strategies={n_lora: {n_lora: {weight: 0}}}", "lora_incremental"),
        ("lora_replay", "--strategies={lora_replay: {replay: {share: 0}}}", "lora_sequential"),
        ("lora_lwf", "--strategies={lora_lwf: {lwf: {weight: 0}}}", "lora_sequential"),
    ],
)
def test_a_neutral_setting_asks_for_the_very_nodes_of_the_plain_method(
    stream: Path, label: str, neutral: str, same: str
) -> None:
    assert keys(stream, neutral) == keys(stream, f"--strategies={{{same}: null}}")


def test_memory_is_in_the_key_by_what_can_change_it(stream: Path) -> None:
    def memory(setting: str) -> tuple[str, str]:
        planned, _ = plan(stream, f"--strategies={{reglora: {{reglora: {setting}}}}}")
        node = planned.runs[0].stages[1].node
        return next(p.key for role, p in node.parents.items() if role.startswith("memory/")), node.key

    plain, weighted, wider = memory("{}"), memory("{weight: 5}"), memory("{keep: 0.5}")
    assert plain[0] == weighted[0] != wider[0]
    assert len({plain[1], weighted[1], wider[1]}) == 3


def test_only_the_answer_is_learned() -> None:
    class Words:
        all_special_tokens = ("<end>",)
        chat_template = None
        eos_token_id = 9

        def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
            return {"input_ids": [ord(letter) for letter in text]}

    question, answer = dialogue(Example("ab", "c", "phrase"), Words(), 0)
    assert (question, answer) == ([0, 97, 98, 10], [99, 9])
    with pytest.raises(UserError, match="holds the special token <end>; remove it"):
        dialogue(Example("a<end>b", "c", "phrase"), Words(), 0)


def test_rows_of_unequal_length_are_padded_and_padding_is_not_learned(stream: Path) -> None:
    planned, store = plan(stream)
    with contextlib.chdir(stream):
        runner.run(runner.pending([planned.data["copy"]], store), store, Quiet())
    found = rows(store.path(planned.data["copy"]), "copy", "train", 64)
    assert isinstance(found, DialogueRows)
    chosen = [found[0], found[1]]
    batch = collate(chosen, 0)
    assert batch.targets is not None
    for row, (ids, targets, _) in enumerate(chosen):
        assert targets is not None
        assert torch.equal(batch.ids[row, : len(ids)], ids)
        assert torch.equal(batch.targets[row, : len(targets)], targets)
        assert (batch.targets[row, len(targets) :] == IGNORE).all()
        learned = targets != IGNORE
        assert torch.equal(targets[learned], ids[1:][learned])
        assert found.question(row).tolist() == ids[: len(ids) - int(learned.sum())].tolist()
    assert int(batch.learned()) == sum(int((t != IGNORE).sum()) for _, t, _ in chosen if t is not None)


def test_an_example_longer_than_a_row_is_an_error_with_the_length_it_needs(tmp_path: Path) -> None:
    folder = write_stream(tmp_path, train={"sequence": 4, "batch": 8})
    planned, store = plan(folder)
    with contextlib.chdir(folder):
        runner.run(runner.pending(planned.data.values(), store), store, Quiet())
        with pytest.raises(
            UserError, match=r"train\.sequence: 4 is less than the longest example of copy; raise it to \d+"
        ):
            rows(store.path(planned.data["copy"]), "copy", "train", 4)


class Quiet:
    def waiting(self, *_: Any) -> None: ...

    found = started = progress = point = finished = waiting


@pytest.mark.slow
def test_adapters_alone_are_stored(done: Path) -> None:
    planned, store = plan(done, "--strategies={reglora: null}")
    state = store.path(planned.runs[0].stages[1].node)
    assert json.loads((state / "adapters.json").read_text()) == {"t1": "merged", "t2": "trained"}
    memory = store.path(next(p for r, p in planned.runs[0].stages[1].node.parents.items() if r.startswith("memory/")))
    assert all(value.dtype == torch.uint8 for value in load_file(memory / "memory.safetensors").values())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("--examples=4", r"examples\.(copy|which): 4 is less than one optimizer step \(train\.batch\)"),
        ("--examples={copy: 16}", r"examples\.which: is missing; give the training examples of every task"),
        ("--tokens=5000", r"tokens: 5000 has no effect: no task of toy is counted in tokens"),
        ("--examples={copy: 16, which: 16, other: 16}", r"examples: task: 'other' is unknown"),
        ("--evaluation.items=-1", r"evaluation\.items: -1 must be at least 0"),
        ("--strategies={o_lora: {lora: {r: 0}}}", r"r 0 must be at least 1"),
    ],
)
def test_mistakes_are_told_in_one_line(setting: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        plan(write_stream(tmp_path), setting)


def test_a_penalty_without_its_adapters_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_stream(tmp_path)
    (folder / "strategies").mkdir()
    (folder / "strategies" / "wrong.yaml").write_text(
        "{summary: w, paper: p, keeps: k, methods: [{lora: {life: continue}}, reglora]}"
    )
    with contextlib.chdir(folder):
        assert cli.main(["run", "toyexp.yaml", "--strategies={wrong: null}"]) == 2
    assert "reglora: there is no fresh adapter; put lora with life merge or stack before it" in " ".join(
        capsys.readouterr().err.split()
    )


@pytest.mark.slow
def test_tasks_trained_apart_have_nothing_to_hold(tmp_path: Path) -> None:
    folder = write_stream(tmp_path)
    (folder / "strategies").mkdir()
    lines = {"held": "lora: {life: continue}}, ewc, si, mas", "stacked": "lora: {life: stack}}, reglora, o_lora"}
    for name, methods in lines.items():
        text = f"{{summary: s, paper: p, keeps: k, methods: [scratch, {{{methods}]}}"
        (folder / "strategies" / f"{name}.yaml").write_text(text)
    run(folder, "--strategies={held: null, stacked: null}")
    for each in result(folder)["runs"]:
        assert all(not point["terms"] for stage in each["stages"] for point in stage["points"])


def test_format_prompts_reach_training_and_test(tmp_path: Path) -> None:
    folder = write_stream(tmp_path, strategies={"lora_styles": None, "lora_merged": None})
    planned, store = plan(folder)
    styled, plain = (each.data["which"] for each in planned.runs)
    assert styled.key != plain.key
    with contextlib.chdir(folder):
        runner.run(runner.pending([styled], store), store, Quiet())
    for split in ("train", "validation", "test"):
        stored = json.loads((store.path(styled) / f"{split}.examples.json").read_text())
        assert all("Answer with" in example["question"] for example in stored)


@pytest.mark.slow
@pytest.mark.parametrize(
    "label", ["reglora", "o_lora", "lora_lwf", "lora_der", "lora_agem", "seq_star", "prompt_tuning", "moe_lora", "osf"]
)
def test_mixed_precision_is_for_the_model_and_not_for_penalties(label: str, tmp_path: Path) -> None:
    for state in learn(write_stream(tmp_path, strategies={label: None}, train={"precision": "bf16"}, examples=16)):
        points = json.loads((state / "node.json").read_text())["result"]["points"]
        assert len(points) > 1
        assert all(point["grad_norm"] for point in points[1:])


class CrashError(Exception):
    """The process was killed here."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "label",
    [
        *("lora_si", "reglora", "lora_ewc", "o_lora", "inf_lora", "lora_lwf", "lora_agem", "lora_der"),
        *("lora_alone", "prompt_tuning", "moe_lora", "osf"),
    ],
)
def test_interrupted_is_uninterrupted(label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"strategies": {label: None}, "checkpoints": {"steps": 2}}
    whole, broken = (tmp_path / name for name in ("whole", "broken"))
    for folder in (whole, broken):
        folder.mkdir()
        write_stream(folder, **settings)
    expected_states = learn(whole)
    inner = Learner.training_step
    steps = iter(range(100))

    def training_step(self: Learner, batch: Any, index: int) -> None:
        if next(steps) == 9:  # the fourth of six steps of the second task: a checkpoint is behind it
            raise CrashError
        inner(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "training_step", training_step)
        with pytest.raises(CrashError):
            learn(broken)
    for one, two in zip(expected_states, learn(broken), strict=True):
        files = sorted(path.relative_to(one) for path in one.rglob("*.safetensors"))
        assert files
        for file in files:
            expected, found = load_file(one / file), load_file(two / file)
            assert expected.keys() == found.keys()
            assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_a_separator_inside_a_dialogue_does_not_hide_the_question() -> None:
    """Some chat templates end each turn with the token that separates documents."""
    separator = 0
    text, dialogue = torch.tensor([5, 0, 6, 7, 8]), torch.tensor([5, 0, 6, 7, 8])
    targets = torch.tensor([IGNORE, IGNORE, 7, 8])
    batch = collate([Row(text, None), Row(dialogue, targets)], separator)
    assert segments(batch, separator).tolist() == [[0, 1, 1, 1], [0, 0, 0, 0]]


@pytest.mark.parametrize("life", ["continue", "stack", "merge", "alone"])
def test_a_fork_goes_on_with_its_trunk_s_adapter(life: str, tmp_path: Path) -> None:
    folder = write_stream(tmp_path, strategies={"forked": None})
    (folder / "strategies").mkdir()
    text = f"{{summary: s, paper: p, keeps: k, methods: [inf_cosine, {{lora: {{life: {life}}}}}]}}"
    (folder / "strategies" / "forked.yaml").write_text(text)
    states = [json.loads((state / "adapters.json").read_text()) for state in learn(folder)]
    earlier = {"continue": {}, "stack": {"t1": "frozen"}, "merge": {"t1": "merged"}, "alone": {"t1": "kept"}}[life]
    last = {"t1": "trained"} if life == "continue" else {**earlier, "t2": "trained"}
    assert states == [{"t1": "trained"}, {"t1": "trained"}, last, last]


def test_a_strategy_that_transforms_every_task_stands_alone(tmp_path: Path) -> None:
    folder = write_stream(tmp_path, strategies={"sefe": None}, train={"sequence": 128, "batch": 8})
    run(folder)
    assert result(folder)["data"]["copy"]["documents"]["train"] > 0


def test_a_folder_of_one_s_own_does_not_hide_ours(tmp_path: Path) -> None:
    """The installed command, in a directory with its own scenarios/ and strategies/."""
    folder = write_stream(tmp_path, strategies={"mine": None})
    for name in ("scenarios", "strategies"):
        (folder / name).mkdir()
    (folder / "strategies" / "mine.yaml").write_text("{summary: s, paper: p, keeps: k, methods: [lora]}")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [str(Path(sys.executable).with_name("cl")), "plan", "toyexp.yaml"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
