"""Train nodes: interrupted equals uninterrupted, looking changes nothing, and every row is accounted for."""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cl import cli
from cl.config.checkpoints import Checkpoints
from cl.config.evaluation import Evaluation
from cl.data.batches import Batch, rows
from cl.data.mixture import Ledger
from cl.training import checkpoint
from cl.training.learner import Learner
from cl.training.recorder import Recorder, next_look, summarise
from tests.method_fixture import step_of
from tests.training_fixture import (
    STEPS,
    Anchor,
    Surveyor,
    dropout_model,
    execute,
    matrix,
    plan,
    results,
    run,
    start,
    tiny,
    weights,
    write_strategy,
    write_toy,
)

BATCH, SEQUENCE = 4, 32
ANCHORED = [{"rewarm_cosine": {}}, {"replay": {"share": 0.25}}, {"tests.training_fixture:Anchor": {"weight": 0.1}}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: Any) -> Path:
    """A model directory with dropout, so that every random number counts."""
    return dropout_model(tmp_path_factory.mktemp("model"))


def eventful(folder: Path, model: Path, steps: int = STEPS) -> Path:
    """A toy with dropout, replay, and a method that has a state."""
    write_toy(
        folder,
        model={"name": str(model)},
        tokens=BATCH * SEQUENCE * steps,
        checkpoints={"steps": 5},
        strategies={"anchored": None},
    )
    write_strategy(folder, "anchored", ANCHORED)
    return folder


def stage_results(folder: Path, strategy: str = "finetune") -> list[dict[str, Any]]:
    """What the train nodes of a strategy's first run have recorded."""
    found = next(entry for entry in results(folder)["runs"] if entry["strategy"] == strategy)
    files = [folder / "store" / "nodes" / stage["key"] / "node.json" for stage in found["stages"]]
    return [json.loads(file.read_text(encoding="utf-8"))["result"] for file in files]


KILLS = [
    "cl.training.learner:Learner.training_step 8",  # in a step of the first task, after the checkpoint of step 5
    "cl.training.checkpoint:optimizer_tensors 3",  # while the checkpoint of step 20 is being written
    "cl.training.validation:Probe.__call__ 1",  # in an in-task evaluation
    "cl.models.pretrained:save 1",  # trained, and about to be stored
    "cl.execution.store:Store.publish 1",  # all files written, not yet published
    "cl.training.learner:Learner.training_step 3",  # in the second task, before its first checkpoint
    "cl.training.checkpoint:save_file 7",  # while its second checkpoint is being written
    "cl.training.validation:bytes_per_token 3",  # in the evaluation of the second row of R
]


@pytest.mark.slow
def test_killed_again_and_again_ends_with_the_same_bits(tmp_path: Path, model: Path) -> None:
    steps = 56  # of 4 rows each: more than two epochs of either task
    whole, broken = (eventful(tmp_path / name, model, steps) for name in ("whole", "broken"))
    run(whole)
    assert "rows are read 2." in "".join(stage_results(whole, "anchored")[0]["warnings"])
    for moment in KILLS:
        killed = start(broken, "--tracking.uri=none", module="tests.kill_driver", KILL=moment)
        assert killed.returncode == -signal.SIGKILL, f"{moment}: {killed.stdout[-2000:]} {killed.stderr[-2000:]}"
    done = start(broken, "--tracking.uri=none")
    assert done.returncode == 0, done.stderr
    assert weights(broken, "anchored") == weights(whole, "anchored")
    assert matrix(broken, "anchored") == matrix(whole, "anchored")
    for found, expected in zip(stage_results(broken, "anchored"), stage_results(whole, "anchored"), strict=True):
        for name in ("ledger", "ledger_before", "seen", "tokens", "steps"):
            assert found[name] == expected[name]


@pytest.mark.slow
def test_compiled_training_on_two_threads_gives_the_same_bits_each_time(tmp_path: Path) -> None:
    """Threads that add gradients of one token's embedding in any order would not."""
    found = []
    for name in ("one", "two"):
        folder = write_toy(tmp_path / name, train={"compile": True, "batch": 16, "sequence": 64}, tokens=16 * 64 * 24)
        done = start(folder, "--tracking.uri=none", "--upto=1", OMP_NUM_THREADS="2")
        assert done.returncode == 0, done.stderr[-2000:]
        found.append(weights(folder))
    assert found[0] == found[1]


class CrashError(Exception):
    """Not an error of ours."""


def crash_at(monkeypatch: Any, step: int) -> None:
    """Raise in the step-th training step from now."""
    inner, calls = Learner.training_step, iter(range(1, step + 1))

    def training_step(self: Learner, batch: Batch, index: int) -> None:
        if next(calls) == step:
            raise CrashError
        inner(self, batch, index)

    monkeypatch.setattr(Learner, "training_step", training_step)


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 8, STEPS, STEPS + 12])  # the last two: before the last step, in the second task
def test_interrupted_equals_uninterrupted(step: int, tmp_path: Path, model: Path, monkeypatch: Any) -> None:
    whole, broken = (eventful(tmp_path / name, model) for name in ("whole", "broken"))
    run(whole)
    with monkeypatch.context() as patch:
        crash_at(patch, step)
        with pytest.raises(CrashError):
            run(broken)
    run(broken)
    assert weights(broken, "anchored") == weights(whole, "anchored")
    assert matrix(broken, "anchored") == matrix(whole, "anchored")


def test_who_looks_on_gets_every_point_of_a_resumed_node(tmp_path: Path, monkeypatch: Any) -> None:
    folder = write_toy(tmp_path, checkpoints={"steps": 10})
    graph, store = plan(folder)
    node = graph.runs[0].stages[0].node
    with monkeypatch.context() as patch:
        crash_at(patch, 17)
        with pytest.raises(CrashError):
            execute(folder, node, store)
    resumed = execute(folder, node, store)
    assert [point.step for key, point in resumed.points if key == node.key] == list(range(STEPS + 1))


def test_unfinished_checkpoints_are_ignored(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path / "none") is None
    for name in ("000000005", "000000010", "000000015.new"):
        (tmp_path / name).mkdir()
    found = checkpoint.newest(tmp_path)
    assert found is not None
    assert found.name == "000000010"


def test_a_checkpoint_holds_everything_and_replaces_the_older_one(tmp_path: Path) -> None:
    def parts() -> tuple[Any, torch.optim.Optimizer, Anchor]:
        model, method = tiny(), Anchor()
        method.prepare(model, 1)
        return model, torch.optim.AdamW(model.parameters(), lr=0.1), method

    model, optimizer, method = parts()
    (tmp_path / "000000003.new").mkdir()  # left by a process that was killed
    for step in (2, 3):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        method.after_backward(step_of(model))
        optimizer.step()
        checkpoint.save(tmp_path, step, model, optimizer, [method], {"seconds": 1.5})
    expected = torch.rand(3)
    assert [path.name for path in tmp_path.iterdir()] == ["000000003"]

    other, fresh, empty = parts()
    state = checkpoint.restore(tmp_path / "000000003", other, fresh, [empty])
    assert state == {"step": 3, "seconds": 1.5}
    assert torch.equal(torch.rand(3), expected)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        for name in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(fresh.state[two][name], optimizer.state[one][name])
    assert all(torch.equal(empty.importance[name], value) for name, value in method.importance.items())


def test_a_checkpoint_of_tied_weights_keeps_them_tied(tmp_path: Path) -> None:
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = torch.nn.Linear(3, 3)
            self.two = torch.nn.Linear(3, 3)
            self.two.weight = self.one.weight

    model, other = Tied(), Tied()
    checkpoint.save(tmp_path, 1, model, torch.optim.AdamW(model.parameters()), [], {})
    checkpoint.restore(tmp_path / "000000001", other, torch.optim.AdamW(other.parameters()), [])
    assert other.two.weight is other.one.weight
    assert torch.equal(other.one.weight, model.one.weight)
    assert torch.equal(other.two.bias, model.two.bias)


def test_two_methods_of_one_class_keep_their_states_apart() -> None:
    methods = [Anchor(), Anchor()]
    for value, method in enumerate(methods):
        method.importance = {"x": torch.tensor([float(value)])}
    stored = checkpoint.method_tensors(methods)
    loaded = [Anchor(), Anchor()]
    checkpoint.load_methods(loaded, stored)
    assert [float(method.importance["x"]) for method in loaded] == [0.0, 1.0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ["--evaluation.share=0"],
        ["--evaluation.points=12", "--evaluation.probe_tokens=64"],
        ["--checkpoints.steps=3"],
    ],
)
def test_looking_and_saving_leave_no_trace(settings: list[str], tmp_path: Path, model: Path) -> None:
    plain, other = (eventful(tmp_path / name, model) for name in ("plain", "other"))
    run(plain)
    run(other, *settings)
    assert weights(other, "anchored") == weights(plain, "anchored")
    assert matrix(other, "anchored") == matrix(plain, "anchored")
    keys = [[stage["key"] for stage in results(folder)["runs"][0]["stages"]] for folder in (plain, other)]
    assert keys[0] == keys[1]
    assert looks(plain) > 0  # how many depends on the time they take
    assert (looks(other) > 0) == (settings[0] != "--evaluation.share=0")


def looks(folder: Path) -> int:
    """In-task evaluations of the first stage."""
    return sum(bool(point["scores"]) for point in stage_results(folder, "anchored")[0]["points"])


@pytest.mark.parametrize(("strategy", "updates"), [("rewarm", STEPS), ("rewarm_keep", 2 * STEPS)])
def test_optimizer_state_is_kept_or_reset(strategy: str, updates: int, tmp_path: Path) -> None:
    folder = write_toy(tmp_path, strategies={strategy: None})
    graph, store = plan(folder)
    node = graph.runs[0].stages[1].node
    kept = dataclasses.replace(
        node, local={**node.local, "keep_optimizer": True}, needs=frozenset({"optimizer.safetensors"})
    )
    execute(folder, kept, store)
    state = load_file(store.path(kept) / "optimizer.safetensors")
    assert {float(value) for name, value in state.items() if name.endswith("/step")} == {updates}


@pytest.mark.slow
def test_trunk_and_fork_are_one_stage_bit_for_bit(tmp_path: Path) -> None:
    folder = write_toy(tmp_path, strategies={"infinite_cosine": None, "whole": None})
    write_strategy(folder, "whole", [{"tests.training_fixture:Whole": {}}, {"optimizer_state": {"policy": "keep"}}])
    run(folder)
    trunk, anneal, *_ = weights(folder, "infinite_cosine")
    whole = weights(folder, "whole")[0]
    assert anneal == whole
    assert trunk != whole
    forked, uncut = stage_results(folder, "infinite_cosine"), stage_results(folder, "whole")
    assert forked[1]["ledger"] == uncut[0]["ledger"]
    assert forked[0]["tokens"] + forked[1]["tokens"] == uncut[0]["tokens"]


@pytest.mark.slow
def test_a_stage_too_short_to_have_a_fork_still_ends(tmp_path: Path) -> None:
    folder = write_toy(tmp_path, tokens=BATCH * SEQUENCE, strategies={"infinite_cosine": None})
    run(folder)
    found = stage_results(folder, "infinite_cosine")
    assert [stage["steps"] for stage in found] == [1, 0, 1, 0]
    assert [len(stage["points"]) for stage in found] == [2, 1, 2, 1]
    assert weights(folder, "infinite_cosine")[0] == weights(folder, "infinite_cosine")[1]


def trained_rows(monkeypatch: Any, folder: Path, *settings: str) -> list[list[tuple[int, ...]]]:
    """Run the toy and return the rows that each train node trained on, in order."""
    stages: list[list[tuple[int, ...]]] = []
    inner = Learner.training_step

    def training_step(self: Learner, batch: Batch, index: int) -> None:
        if index == 0:
            stages.append([])
        stages[-1] += [tuple(row) for row in batch.ids.tolist()]
        inner(self, batch, index)

    monkeypatch.setattr(Learner, "training_step", training_step)
    run(folder, *settings)
    return stages


def split_rows(folder: Path, name: str, split: str) -> set[tuple[int, ...]]:
    graph, store = plan(folder)
    found = rows(store.path(graph.data[name]), name, split, SEQUENCE)
    return {tuple(found[row].ids.tolist()) for row in range(len(found))}


def test_replay_reads_what_was_trained_on_and_nothing_reads_what_is_held_out(tmp_path: Path, monkeypatch: Any) -> None:
    folder = write_toy(tmp_path, tokens=BATCH * SEQUENCE * 12, strategies={"rewarm_replay_25": None})
    first, second = trained_rows(monkeypatch, folder)
    english, german = split_rows(folder, "english", "train"), split_rows(folder, "german", "train")
    assert len(first) == len(set(first)) == BATCH * 12 < len(english)  # less than an epoch
    assert set(first) <= english
    replayed = [row for row in second if row in english]
    assert replayed == first[: len(second) // 4]
    assert {row for row in second if row not in english} <= german
    held_out = set.union(*(split_rows(folder, n, s) for n in ("english", "german") for s in ("validation", "test")))
    assert held_out.isdisjoint([*first, *second])


@pytest.mark.slow
def test_a_survey_sees_the_rows_of_the_stage_s_own_task_and_leaves_no_trace(
    tmp_path: Path, model: Path, monkeypatch: Any
) -> None:
    folder = eventful(tmp_path, model, 12)  # less than an epoch
    write_strategy(folder, "surveyed", [*ANCHORED[:2], {"tests.training_fixture:Surveyor": {}}])
    write_strategy(folder, "plain", ANCHORED[:2])
    monkeypatch.setattr(Surveyor, "seen", [])
    first, second, *_ = trained_rows(monkeypatch, folder, "--strategies={surveyed: null, plain: null}")
    assert weights(folder, "surveyed") == weights(folder, "plain")
    english = split_rows(folder, "english", "train")
    assert [sorted(rows) for rows in Surveyor.seen] == [sorted(first), sorted(set(second) - english)]
    assert not english.isdisjoint(second)  # replayed, and not seen


def test_ledgers_add_up(tmp_path: Path) -> None:
    folder = write_toy(tmp_path, strategies={"rewarm_replay_25": None})
    run(folder)
    first, second = stage_results(folder, "rewarm_replay_25")
    whole = BATCH * SEQUENCE * STEPS
    before, after = Ledger.from_json(first["ledger"]), Ledger.from_json(second["ledger"])
    assert before.tokens == {"english": whole}
    assert after.tokens == {"english": whole + whole // 4, "german": whole - whole // 4}
    assert (before.accounts["english"].trained, before.accounts["english"].replayed) == (BATCH * STEPS, 0)
    assert (after.accounts["english"].trained, after.accounts["english"].replayed) == (BATCH * STEPS, STEPS)
    assert after.accounts["german"].trained == 3 * STEPS
    started = Ledger.from_json(second["ledger_before"])
    assert started.accounts["english"] == before.accounts["english"]
    assert started.tokens["german"] == 0
    for stage in (first, second):
        assert sum(stage["seen"].values()) == stage["tokens"] == whole
        assert stage["points"][-1]["tokens"] == whole
        assert stage["steps"] == STEPS


def test_a_loss_that_is_not_finite_stops_the_run_in_one_line(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(write_toy(tmp_path))
    assert cli.main(["run", "toyexp.yaml", "--tracking.uri=none", "--train.lr=1e30"]) == 2
    assert "the loss is not finite at step" in capsys.readouterr().err


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def recorded(share: float, look: float, tokens: int, monkeypatch: Any, steps: int = 200) -> Any:
    """The job after a stage of `steps` steps of a second and 100 tokens each, whose looks take `look` seconds."""
    clock, one = Clock(), torch.tensor(1.0)
    monkeypatch.setattr("cl.training.recorder.time", clock)

    class Look:
        def __init__(self) -> None:
            self.tokens = tokens

        def __call__(self, *args: Any) -> dict[str, float]:
            clock.now += look
            return {"english": 1.0}

    learner = SimpleNamespace(step=0, last={}, token_loss=SimpleNamespace(root=None), methods=[])
    counts = SimpleNamespace(batch_rows=10, row_tokens=10)
    job = SimpleNamespace(
        learner=learner, plan=counts, first=0, last=steps, probe=Look(), device="cpu", precision="fp32", work=Path(),
        evaluation=Evaluation(share=share), checkpoints=Checkpoints(seconds=1e9), watcher=SimpleNamespace(
            progress=lambda done, total: None, point=lambda point: None
        ), points=[], seconds=0.0, eval_seconds=0.0, seen=lambda step: {"english": step * 100},
    )  # fmt: skip
    callback = Recorder(job, None)
    monkeypatch.setattr(callback, "_restore", lambda learner, optimizer: None)
    callback.begin(None)
    for step in range(1, steps + 1):
        clock.now += 1
        learner.step, learner.last = step, {"loss": one, "terms": {}, "grad_norm": one, "lr": 0.1}
        callback.on_train_batch_end(None, None, None, None, 0)
    return job


@pytest.mark.parametrize(
    ("share", "look", "tokens", "looks"),
    [
        (0.1, 0.5, 100, 21),  # all planned ones: 10.5 of 200 seconds
        (0.1, 2.0, 100, 10),  # 20 of 200 seconds
        (0.1, 30.0, 100, 1),  # dearer than forecast: once, and never again
        (0.1, 1.0, 7000, 0),  # forecast as 7000 / 3 of 20000 tokens: more than the share, so never
        (0.0, 1.0, 100, 0),
    ],
)
def test_evaluation_keeps_within_its_share(
    share: float, look: float, tokens: int, looks: int, monkeypatch: Any
) -> None:
    job = recorded(share, look, tokens, monkeypatch)
    assert sum(bool(point.scores) for point in job.points) == looks
    assert looks < 2 or job.points[-1].scores  # paced: some are left for the end
    assert job.eval_seconds == pytest.approx(looks * look)
    assert job.seconds == pytest.approx(200)  # looking is not training time


@pytest.mark.parametrize(
    ("points", "affordable", "expected"),
    [
        (4, 99, [12, 35, 65, 100]),  # 100 (i/4)^1.5 = 12.5, 35.4, 65.0, 100
        (1, 99, [100]),
        (99, 2, [35, 100]),  # two are left: 100 (1/2)^1.5 = 35.4, 100
        (4, 0, []),
    ],
)
def test_looks_by_hand(points: int, affordable: int, expected: list[int]) -> None:
    steps, at = [], next_look(0, 100, points, affordable)
    while at <= 100:
        steps.append(at)
        affordable -= 1
        at = next_look(int(at), 100, points, affordable)
    assert steps == expected


def test_a_point_is_the_mean_over_its_steps() -> None:
    steps = [
        {"loss": torch.tensor(2.0), "grad_norm": torch.tensor(1.0), "lr": 0.1, "terms": {"anchor": torch.tensor(0.5)}},
        {"loss": torch.tensor(4.0), "grad_norm": torch.tensor(3.0), "lr": 0.2, "terms": {"anchor": torch.tensor(1.0)}},
    ]
    expected = {"loss": 3.0, "lr": 0.2, "grad_norm": 2.0, "terms": {"anchor": 0.75, "anchor/ratio": 0.25}}
    assert summarise(steps) == expected
    assert summarise([]) == {}


@pytest.mark.slow
def test_terms_are_in_the_curve_with_their_ratio(tmp_path: Path, model: Path) -> None:
    folder = eventful(tmp_path, model)
    run(folder)
    points = [point for stage in stage_results(folder, "anchored") for point in stage["points"] if point["step"]]
    for point in points:
        assert point["terms"]["anchor/ratio"] == pytest.approx(point["terms"]["anchor"] / point["loss"])
    assert max(point["terms"]["anchor"] for point in points) > 0


@pytest.mark.slow
def test_a_method_starts_a_stage_from_what_its_parent_stage_left(tmp_path: Path, model: Path, monkeypatch: Any) -> None:
    prepared: list[tuple[float, float]] = []
    inner = Anchor.prepare

    def prepare(self: Anchor, module: Any, t: int) -> Any:
        inner(self, module, t)
        moved = sum(float((value - self.start[name]).abs().sum()) for name, value in module.named_parameters())
        prepared.append((moved, sum(float(value.sum()) for value in self.importance.values())))
        return module

    monkeypatch.setattr(Anchor, "prepare", prepare)
    run(eventful(tmp_path, model))
    assert [moved for moved, _ in prepared] == [0.0, 0.0]  # anchored at the start of its own stage
    assert prepared[0][1] == 0.0
    assert prepared[1][1] > 0.0  # and remembers what mattered before
