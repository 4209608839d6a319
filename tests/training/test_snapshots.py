"""States inside a stage: the state of a step is that of a stage that ends there, also after a kill."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cl.errors import UserError
from cl.training.snapshots import Snapshots
from tests.support.training import BATCH, SEQUENCE, execute, keys, plan, results, start, tiny, write_strategy, write_toy

PROBED = {"probes": {"tests.support.probes:FirstRow": {"factor": 1.0}}, "probe_steps": [3, 7]}


def states(folder: Path) -> dict[str, bytes]:
    """The weights that the stored train nodes hold inside their stages, by stage and place."""
    stages = [(each["name"], folder / "store" / "nodes" / each["key"]) for each in results(folder)["runs"][0]["stages"]]
    return {
        f"{name} {path.parent.name}": path.read_bytes() for name, at in stages for path in at.glob("step-*/model.*")
    }


@pytest.mark.slow
def test_a_state_inside_a_stage_is_the_end_of_a_shorter_one(tmp_path: Path) -> None:
    flat = {"strategies": {"flat": None}}  # at a constant rate
    folder = write_toy(tmp_path / "long", tokens=BATCH * SEQUENCE * 12, **flat, **PROBED)
    short = write_toy(tmp_path / "short", tokens=BATCH * SEQUENCE * 7, **flat)
    for each in (folder, short):
        write_strategy(each, "flat", [{"tests.support.training:Anchor": {"weight": 0.1}}])
    graph, store = plan(folder)
    stage = graph.runs[0].stages[0].node
    execute(folder, stage, store)
    other, there = plan(short)
    execute(short, other.runs[0].stages[0].node, there)
    ends = there.path(other.runs[0].stages[0].node) / "model.safetensors"
    assert (store.path(stage) / "step-7" / "model.safetensors").read_bytes() == ends.read_bytes()
    assert not (there.path(other.runs[0].stages[0].node) / "step-3").exists()


def test_they_move_no_key_and_a_stage_without_them_is_trained_again(tmp_path: Path) -> None:
    folder = write_toy(tmp_path, **PROBED)
    assert keys(folder) == keys(folder, "--probe_steps=[]")
    graph, store = plan(folder, "--probe_steps=[]")
    node = graph.runs[0].stages[0].node
    with store.work(node) as work:
        assert work is not None
        store.publish(node, work, {})
    assert store.has(node)
    asked, _ = plan(folder)
    assert not store.has(asked.runs[0].stages[0].node)


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_killed_between_them_the_same_states_are_kept(tmp_path: Path) -> None:
    settings = {"tokens": BATCH * SEQUENCE * 12, "checkpoints": {"steps": 5}, **PROBED}
    whole, killed = (write_toy(tmp_path / name, **settings) for name in ("whole", "killed"))
    assert start(whole, "--tracking.uri=none").returncode == 0
    moment = "cl.training.learner:Learner.training_step 7"
    ended = start(killed, "--tracking.uri=none", module="tests.support.kill_driver", KILL=moment)
    assert ended.returncode == -9
    assert start(killed, "--tracking.uri=none").returncode == 0
    assert states(killed) == states(whole)
    assert sorted(states(whole)) == ["english step-3", "english step-7", "german step-3", "german step-7"]


def test_a_checkpoint_without_states_that_were_due_is_no_start(tmp_path: Path) -> None:
    kept = Snapshots([3, 7], tmp_path / "snapshots", tmp_path)
    assert not kept.lacks(upto=2)
    assert kept.lacks(upto=3)
    kept.save_if_due(tiny(), 3)
    kept.save_if_due(tiny(), 4)
    assert not kept.lacks(upto=6)
    assert kept.lacks(upto=7)
    shutil.rmtree(tmp_path / "snapshots" / "step-3")
    assert kept.lacks(upto=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["--probe_steps=[3, 2]"], r"probe_steps: \[3, 2\] must be different steps above 0, the smallest first"),
        (["--probe_steps=[0]"], r"probe_steps: \[0\] must be"),
        (["--probe_steps=[24]"], "probe_steps: no stage goes on after step 24"),
        (["--probe_steps=[2]", "--train.devices=2"], "probe_steps: a stage keeps states inside it on one device only"),
        (["--probe_steps=[2]", "--strategies={lora_magmax: }"], "probe_steps: lora_magmax measures merged models"),
    ],
)
def test_steps_that_cannot_be_probed_are_told_while_planning(tmp_path: Path, settings: list[str], message: str) -> None:
    folder = write_toy(tmp_path, probes=PROBED["probes"])
    with pytest.raises(UserError, match=message):
        plan(folder, *settings)


def test_they_need_a_probe(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="probe_steps: has no effect without probes"):
        plan(write_toy(tmp_path), "--probe_steps=[2]")
