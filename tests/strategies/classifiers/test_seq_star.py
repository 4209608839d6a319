"""SEQ*: its loss by hand, what it freezes, its warm-up before the stream, and a class-incremental stream end to end."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from cl import cli
from cl.config import loading
from cl.config.train import Train
from cl.data.batches import Batch
from cl.data.rows import IGNORE
from cl.errors import UserError
from cl.execution.store import Store
from cl.graph import planner
from cl.graph.planner import Graph
from cl.graph.roles import MEMORY
from cl.methods.method import Stage
from cl.models import classifier_head
from cl.models.classifier_head import SPARE
from cl.models.losses import Outputs
from cl.training.learner import Learner
from cl.training.optimizer import build_optimizer
from strategies.adapters.lora import Lora
from strategies.classifiers.seq_star import SeqStar
from tests.support.classes import write_classes
from tests.support.methods import learned_of

STREAM = [Stage(f"task{t}", {f"task{t}": 1.0}, t, 1000, None if t == 1 else t - 2, t) for t in (1, 2)]


class Model(nn.Module):
    """A backbone of one weight, with an output layer for hidden states of width 2."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Parameter(torch.ones(1))
        self.output = nn.Linear(2, 10, bias=False)

    def get_output_embeddings(self) -> nn.Linear:
        return self.output


def rows(*answers: int) -> Batch:
    """A row for each answer of one token: question 1 2, answer, end of turn 9."""
    ids = torch.tensor([[1, 2, answer, 9] for answer in answers])
    return Batch(ids, torch.tensor([[IGNORE, answer, 9] for answer in answers]))


def taught(method: SeqStar, model: Model, *tasks: tuple[int, ...]) -> classifier_head.Head:
    """The model's classifier at the start of the last of some stages, by the answers in each one's data."""
    for t, answers in enumerate(tasks, 1):
        method.prepare(model, t)
        method.survey(learned_of(model, [rows(*answers)], t=t))
    head = classifier_head.of(model)
    assert head is not None
    return head


def learning(model: nn.Module) -> set[str]:
    return {name for name, value in model.named_parameters() if value.requires_grad}


def test_the_loss_by_hand() -> None:
    model = Model()
    method = SeqStar()
    head = taught(method, model, (5, 6))
    head.blocks["t1"].data = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    hidden = torch.tensor([[3.0, 4.0], [7.0, 7.0], [0.0, 8.0], [7.0, 7.0]])  # of the question's end, and of the answer
    outputs, objective = Outputs(hidden, model.output.weight, torch.zeros(4)), method.objective()
    # cosines (.6, .8) for the second class, (0, 1) for the first
    expected = math.log(1 + math.exp(0.6 - 0.8)) + math.log(1 + math.exp(1.0 - 0.0))
    assert float(objective.total(model, outputs, rows(6, 5)).detach()) == pytest.approx(expected)
    assert objective.count(rows(6, 5)) == 2
    assert (objective.rows, objective.name, objective.learns_from) == (1, "seq_star", ("instruction",))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"cl_head.blocks.t2"}),
        ({"fix_old": False}, {"cl_head.blocks.t1", "cl_head.blocks.t2"}),
        ({"fix_backbone": False}, {"cl_head.blocks.t2", "backbone", "output.weight"}),
        ({"preallocate": 6}, {"cl_head.blocks.t2", f"cl_head.blocks.{SPARE}"}),
    ],
)
def test_what_learns_in_the_second_task(settings: Any, expected: set[str]) -> None:
    model = Model()
    head = taught(SeqStar(**settings), model, (5, 6), (7, 5))
    assert learning(model) == expected
    assert head.classes == [(5, 9), (6, 9), (7, 9)]
    assert sum(map(len, head.blocks.values())) == settings.get("preallocate", 3)


def test_where_a_stage_goes_on_only_prepare_is_called_and_freezes() -> None:
    model, method = Model(), SeqStar()
    taught(method, model, (5, 6), (7, 8))
    model.requires_grad_(True)
    method.prepare(model, 2)
    assert learning(model) == {"cl_head.blocks.t2"}


def test_the_classifier_has_a_learning_rate_of_its_own() -> None:
    model = Model()
    taught(SeqStar(rate=3.0, fix_backbone=False), model, (5, 6))
    groups = build_optimizer(model, Train(weight_decay=0.5)).param_groups
    found = {(g["lr_factor"], g["weight_decay"]): [tuple(p.shape) for p in g["params"]] for g in groups}
    assert found == {(1.0, 0.5): [(10, 2)], (1.0, 0.0): [(1,)], (3.0, 0.5): [(2, 2)], (3.0, 0.0): []}


def test_mistakes_are_told_in_one_line() -> None:
    with pytest.raises(UserError, match="preallocate: 3 is less than the 4 classes up to task; give the number"):
        taught(SeqStar(preallocate=3), Model(), (5, 6), (7, 8))
    with pytest.raises(UserError, match="seq_star: task: no class is new and all else is frozen; use lora"):
        taught(SeqStar(), Model(), (5, 6), (6, 5))
    with pytest.raises(UserError, match="seq_star: task is text, which has no labels"):
        SeqStar().survey(learned_of(Model(), [Batch(torch.zeros(1, 3), None)]))


@pytest.mark.parametrize("settings", [{"warmup": -1.0}, {"rate": 0.0}, {"preallocate": 0}])
def test_meaningless_settings_are_refused(settings: Any) -> None:
    with pytest.raises(UserError, match=r"warmup .* must be at least 0, rate .* above 0, preallocate"):
        SeqStar(**settings)
    assert SeqStar(preallocate=9).validate([])
    assert not SeqStar().validate([])


def test_the_warm_up_comes_before_the_stream() -> None:
    warm, *rest = SeqStar(warmup=0.5).stages(STREAM)
    assert (warm.name, warm.t, warm.total, warm.parent, warm.row) == ("task1 warm-up", 0, 500, None, None)
    assert [(s.name, s.t, s.parent, s.row) for s in rest] == [("task1", 1, 0, 1), ("task2", 2, 1, 2)]
    assert SeqStar(warmup=0.0).stages(STREAM) == STREAM
    assert [SeqStar().active(t) for t in (0, 1, 2)] == [False, True, True]
    assert Lora().active(0)
    assert Lora(life="merge").inactive_settings(0) == ("life",)


def plan(folder: Path, *settings: str) -> tuple[Graph, Store]:
    with contextlib.chdir(folder):
        planned = planner.build(loading.load("toyexp.yaml", list(settings)))
    return planned, Store(folder / planned.experiment.store)


def run(folder: Path, *settings: str) -> dict[str, Any]:
    with contextlib.chdir(folder):
        assert cli.main(["run", "toyexp.yaml", *settings]) == 0
    found = json.loads((folder / "results" / "toyexp" / "results.json").read_text())
    return {each["strategy"]: each for each in found["runs"]}


def test_nothing_is_remembered_of_a_warm_up(tmp_path: Path) -> None:
    folder = write_classes(tmp_path)
    (folder / "strategies").mkdir()
    lines = "methods: [rewarm_cosine, {lora: {life: continue}}, ewc, {seq_star: {fix_backbone: false}}]"
    (folder / "strategies" / "both.yaml").write_text(f"{{summary: s, paper: p, keeps: k, {lines}}}")
    stages = plan(folder, "--strategies={both: null}")[0].runs[0].stages
    memory = [parent for role, parent in stages[2].node.parents.items() if role.kind == "memory"]
    assert [stage.stage.t for stage in stages] == [0, 1, 2, 3]
    assert not [role for stage in stages[:2] for role in stage.node.parents if role.kind == "memory"]
    assert [MEMORY in node.parents for node in memory] == [False]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    free = {"from": "seq_star", "seq_star": {"fix_old": False, "fix_backbone": False}}
    room = {"from": "seq_star", "seq_star": {"preallocate": 6}}
    strategies = {"lora_sequential": None, "seq_star": None, "free": free, "room": room}
    evaluation = {"items": 20, "points": 2}
    changes: dict[str, Any] = {"examples": 640, "strategy": {"seq_star": {"rate": 5.0}}, "probes": {"linear": None}}
    folder = write_classes(tmp_path_factory.mktemp("classes"), strategies=strategies, evaluation=evaluation, **changes)
    return folder, run(folder)


def blocks(done: tuple[Path, Any], label: str, row: int) -> dict[str, torch.Tensor]:
    planned, store = plan(done[0])
    (chain,) = [each for each in planned.runs if each.strategy.label == label]
    (node,) = [each.node for each in chain.stages if each.stage.row == row]
    assert not list(store.path(node).glob("model*"))  # adapters and the classifier alone
    return load_file(store.path(node) / classifier_head.WEIGHTS)


def probed(done: tuple[Path, Any], label: str, row: int) -> dict[str, dict[str, float]]:
    """Measures of the linear probe on the state of a row of R, by set."""
    planned, store = plan(done[0])
    (chain,) = [each for each in planned.runs if each.strategy.label == label]
    record = json.loads((store.path(chain.probes["linear"][row]) / "node.json").read_text())
    measures: dict[str, dict[str, float]] = record["result"]["measures"]
    return measures


@pytest.mark.slow
def test_old_rows_stay_bit_identical_unless_they_are_free(done: tuple[Path, Any]) -> None:
    for label, same in (("seq_star", True), ("room", True), ("free", False)):
        before, after = blocks(done, label, 1)["t1"], blocks(done, label, 3)["t1"]
        assert torch.equal(before, after) is same, label


@pytest.mark.slow
def test_spare_rows_are_used_up(done: tuple[Path, Any]) -> None:
    found = [{name: len(block) for name, block in blocks(done, "room", t).items()} for t in (1, 2, 3)]
    assert found == [{"t1": 2, SPARE: 4}, {"t1": 2, "t2": 2, SPARE: 2}, {"t1": 2, "t2": 2, "t3": 2}]


@pytest.mark.slow
def test_the_backbone_stays_as_the_warm_up_left_it(done: tuple[Path, Any]) -> None:
    planned, store = plan(done[0])
    for label, same in (("seq_star", True), ("free", False)):
        (chain,) = [each for each in planned.runs if each.strategy.label == label]
        files = [store.path(s.node) / "adapters" / "t1" / "adapter_model.safetensors" for s in chain.stages]
        first, last = load_file(files[0]), load_file(files[-1])
        assert first.keys() == last.keys()
        assert all(torch.equal(last[name], value) for name, value in first.items()) is same, label
        assert all(json.loads((file.parents[2] / "adapters.json").read_text()) == {"t1": "trained"} for file in files)


@pytest.mark.slow
def test_it_keeps_more_of_the_first_task_and_probing_says_what_sequential_training_only_forgot_to_say(
    done: tuple[Path, Any],
) -> None:
    final = {label: each["matrix"]["3"] for label, each in done[1].items()}
    kept = {label: row["first"]["scores"]["strict"] for label, row in final.items()}
    assert kept["seq_star"] > kept["lora_sequential"] + 0.2
    assert final["seq_star"]["third"]["scores"]["strict"] > 0.6
    assert probed(done, "lora_sequential", 3)["first"]["accuracy"] > 0.8
    for label, each in done[1].items():
        assert done[1]["seq_star"]["matrix"]["0"] == each["matrix"]["0"], label
        assert all(cell["scores"]["format_ok"] == 1 for cell in final["seq_star"].values())


@pytest.mark.slow
def test_a_step_without_task_loss_is_reported_by_its_term(done: tuple[Path, Any]) -> None:
    folder, found = done
    warm, *stages = found["seq_star"]["stages"]
    assert all(point["loss"] is not None and not point["terms"] for point in warm["points"][1:])
    for stage in stages:
        assert all(point["loss"] is None and list(point["terms"]) == ["seq_star"] for point in stage["points"][1:])
        looks = [point["scores"]["first"] for point in stage["points"] if point["scores"]]
        assert len(set(looks)) == 1  # the language model is frozen
    header, *lines = next((folder / "results" / "toyexp").glob("R-seq_star-*.csv")).read_text().splitlines()
    assert "format_ok" in header.split(",")
    assert len({len(line.split(",")) for line in lines}) == 1


class CrashError(Exception):
    """The process was killed here."""


@pytest.mark.slow
@pytest.mark.parametrize("settings", ["{}", "{warmup: 0}", "{preallocate: 6, warmup: 0}"])
def test_interrupted_is_uninterrupted(settings: str, tmp_path: Path, monkeypatch: Any) -> None:
    """Killed in the first task after its warm-up, or in the second one, whose old rows are in the state before."""
    whole, broken = (tmp_path / name for name in ("whole", "broken"))
    changes: dict[str, Any] = {"examples": 48, "checkpoints": {"steps": 2}, "strategies": {"seq_star": None}}
    for folder in (whole, broken):
        folder.mkdir()
        write_classes(folder, **changes)
    chosen = f"--strategies={{seq_star: {{seq_star: {settings}}}}}"
    run(whole, chosen)
    inner, done = Learner.training_step, iter(range(100))

    def training_step(self: Learner, batch: Any, index: int) -> None:
        if next(done) == 9:  # the fourth of six steps of the second stage: a checkpoint is behind it
            raise CrashError
        inner(self, batch, index)

    with monkeypatch.context() as patch, contextlib.chdir(broken):
        patch.setattr(Learner, "training_step", training_step)
        with pytest.raises(CrashError):
            cli.main(["run", "toyexp.yaml", chosen])
    run(broken, chosen)
    (planned, store), (other, second) = plan(whole, chosen), plan(broken, chosen)
    for one, two in zip(planned.runs[0].stages, other.runs[0].stages, strict=True):
        files = sorted(path.relative_to(store.path(one.node)) for path in store.path(one.node).rglob("*.safetensors"))
        assert files
        for file in files:
            expected, found = load_file(store.path(one.node) / file), load_file(second.path(two.node) / file)
            assert expected.keys() == found.keys()
            assert all(torch.equal(found[key], value) for key, value in expected.items())
