"""A train node in two processes: the rows, the losses and the R of one, whatever a method adds."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.tensor import DTensor

from cl.execution.store import Store
from cl.training import distributed as processes
from cl.training.checkpoint import newest
from tests.support.instruction import write_stream
from tests.support.training import results, run, stage_results, start, write_strategy, write_toy

TOGETHER = 1e-5  # relative: rounding of fp32, over some steps of AdamW
CURVES = 1e-4  # of norms of the gradient as well, which grow apart faster


def losses(folder: Path) -> list[float]:
    """All losses of R."""
    return [
        c["nll"] / c["tokens"] for r in results(folder)["runs"] for row in r["matrix"].values() for c in row.values()
    ]


def curves(folder: Path) -> list[float]:
    """Step, loss and norm of the gradient at each point of each stage: AdamW would forgive a norm of another size."""
    stages = [stage for r in results(folder)["runs"] for stage in r["stages"]]
    points = [point for stage in stages for point in stage["points"] if point["loss"] is not None]
    return [figure for point in points for figure in (point["step"], point["loss"], point["grad_norm"])]


def both(folder: Path, *settings: str, distributed: str = "ddp") -> list[Any]:
    """Results of one and of two processes: records of train nodes, curves, losses."""
    found = []
    for devices in (1, 2):
        together = [f"--train.devices={devices}", f"--train.distributed={distributed}"]
        run(folder, *settings, *together, f"--store=store{devices}")
        keys = [stage["key"] for r in results(folder)["runs"] for stage in r["stages"]]
        stored = Store(folder / f"store{devices}")
        found.append(([stored.read(key) for key in keys], curves(folder), losses(folder)))
    return found


@pytest.mark.usefixtures("forked")
@pytest.mark.slow
def test_two_processes_read_the_rows_of_one_and_learn_the_same(tmp_path: Path) -> None:
    """With replayed rows and penalties: EWC adds a term of parameters, SI follows gradients and keeps a state."""
    folder = write_toy(tmp_path / "toy")
    write_strategy(
        folder, "held", ["rewarm_cosine", {"replay": {"share": 0.3}}, {"ewc": {"weight": 1e4}}, {"si": {"weight": 10}}]
    )
    settings = ("--train.micro_batch=1", "--strategies={held: }")
    run(folder, *settings, "--upto=1", "--store=store2")  # which is found: how many trained a stage is in no key
    one, two = both(folder, *settings)
    for alone, together in zip(one[0], two[0], strict=True):
        assert together.key == alone.key
        for name in ("ledger", "seen", "tokens", "steps"):
            assert together.result[name] == alone.result[name], name
    assert [[found.result["devices"] for found in stages] for stages, *_ in (one, two)] == [[1, 1], [1, 2]]
    assert one[0][1].result["seen"].keys() == {"german", "replay:english"}
    assert two[1] == pytest.approx(one[1], rel=CURVES)
    assert two[2] == pytest.approx(one[2], rel=TOGETHER)
    mine, theirs = ([p["terms"] for s in each[0] for p in s.result["points"] if p["terms"]] for each in (one, two))
    assert {name for each in mine for name in each} >= {"ewc", "si"}
    for ours, others in zip(mine, theirs, strict=True):
        assert others == pytest.approx(ours, rel=1e-3, abs=1e-7)  # small differences of parameters, squared


@pytest.mark.usefixtures("forked")
@pytest.mark.slow
def test_answers_of_different_length_weigh_as_in_one_process(tmp_path: Path) -> None:
    """Each process has another number of learned tokens, so a mean of means would differ."""
    folder = write_stream(tmp_path)
    one, two = both(folder, "--evaluation.items=0", "--upto=1")
    assert two[1] == pytest.approx(one[1], rel=CURVES)
    assert two[2] == pytest.approx(one[2], rel=TOGETHER)


@pytest.mark.usefixtures("forked")
@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["finetune_keep", "lora_incremental"])
def test_a_sharded_model_its_moments_and_its_adapters_are_whole_again_at_the_end(tmp_path: Path, strategy: str) -> None:
    upto = 2 if strategy == "finetune_keep" else 1
    settings = (f"--strategies={{{strategy}: }}", f"--upto={upto}")
    one, two = both(write_toy(tmp_path / "toy"), *settings, distributed="fsdp")
    assert two[1] == pytest.approx(one[1], rel=CURVES)
    assert two[2] == pytest.approx(one[2], rel=TOGETHER)
    assert [sorted(each.files) for each in two[0]] == [sorted(each.files) for each in one[0]]


PENALTIES = {
    "of_entries": ["rewarm_cosine", {"ewc": {"weight": 1e4}}, {"mas": {"weight": 10}}, {"si": {"weight": 10}}],
    "of_adapters": [
        {"lora": {"life": "stack", "r": 3}},
        {"o_lora": {"decay": 0.01}},
        {"n_lora": {}},
        {"reglora": {"keep": 0.1}},
    ],
}


TERMS = {"of_entries": {"ewc", "mas", "si"}, "of_adapters": {"o_lora", "n_lora", "reglora"}}


@pytest.mark.usefixtures("forked")
@pytest.mark.slow
@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.filterwarnings("ignore:reglora")
def test_penalties_of_sharded_parameters_are_those_of_one_process(tmp_path: Path, name: str) -> None:
    """Values and gradients; three rows of A are cut as two and one. The memories were made by one process."""
    folder = write_toy(tmp_path / "toy")
    write_strategy(folder, name, PENALTIES[name])
    one, two = both(folder, f"--strategies={{{name}: }}", distributed="fsdp")
    assert two[1] == pytest.approx(one[1], rel=1e-3 if name == "of_adapters" else CURVES)  # slopes of L1 are signs
    assert two[2] == pytest.approx(one[2], rel=TOGETHER)
    mine, theirs = ([p["terms"] for s in each[0] for p in s.result["points"] if p["terms"]] for each in (one, two))
    assert {term.partition("/")[0] for each in mine for term in each} >= TERMS[name]
    for ours, others in zip(mine, theirs, strict=True):
        assert others == pytest.approx(ours, rel=1e-3, abs=1e-7)


@pytest.mark.usefixtures("forked")
@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [("2 fsdp", "1 ddp"), ("1 ddp", "2 fsdp")])
def test_another_number_of_processes_goes_on_from_a_checkpoint(tmp_path: Path, before: str, after: str) -> None:
    """Killed in the middle of a stage: model, moments, what methods keep and place are taken up."""
    settings = ["--upto=2", "--checkpoints.steps=4", "--tracking.uri=none", "--strategies={held: }"]
    whole, broken = write_toy(tmp_path / "whole"), write_toy(tmp_path / "broken")
    for folder in (whole, broken):  # SI's path is part of the checkpoint, and holds the second task
        write_strategy(folder, "held", ["rewarm_cosine", {"si": {"weight": 10}}])
    run(whole, *settings)

    def devices(which: str) -> list[str]:
        count, kind = which.split()
        return [f"--train.devices={count}", f"--train.distributed={kind}"]

    killed = start(broken, *settings, *devices(before), module="tests.support.kill_driver", KILL=KILL[before[0]])
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    (left,) = [found for path in (broken / "store" / "work").iterdir() if (found := newest(path / "checkpoint")[0])]
    assert 4 <= int(left.name) < 24
    assert (left / "model.00001.safetensors").exists() == ("fsdp" in before)
    done = start(broken, *settings, *devices(after))
    assert done.returncode == 0, done.stderr[-2000:]
    assert losses(broken) == pytest.approx(losses(whole), rel=TOGETHER)
    assert curves(broken)[-3:] == pytest.approx(curves(whole)[-3:], rel=CURVES)
    terms = [stage_results(folder, "held")[-1]["points"][-1]["terms"] for folder in (whole, broken)]
    assert terms[1] == pytest.approx(terms[0], rel=1e-3, abs=1e-7)
    assert terms[0]["si"] > 0


# One process takes steps, the parent of two hears of points.
KILL = {"1": "cl.training.learner:Learner.training_step 15", "2": "cl.execution.listener:hear 16"}


def test_one_process_is_the_identity() -> None:
    steps = [{"loss": torch.tensor(2.0), "terms": {"a": torch.tensor(1.0)}, "lr": 0.1}]
    value = torch.arange(3.0)
    assert processes.all_gather_sum(steps) == steps
    assert processes.announced("key", "mine", lambda: False) == ["mine"]
    assert processes.all_reduce(7, torch.device("cpu")) == 7
    assert processes.broadcast(3) == 3
    assert not isinstance(value, DTensor)


def test_parts_of_processes_add_up_and_a_term_may_be_missing_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand-computed: losses 2 + 1, a term that only the other process has, a step whose loss neither has."""
    mine = [
        {"loss": torch.tensor(2.0), "terms": {"a": torch.tensor(0.5)}, "lr": 0.1},
        {"loss": None, "terms": {}, "lr": 0.2},
    ]
    other = [{"": 1.0, "a": 0.25, "b": 4.0}, {}]
    monkeypatch.setattr(processes, "world", lambda: 2)
    monkeypatch.setattr(processes, "gathered", lambda value: [value, other])
    first, second = processes.all_gather_sum(mine)
    assert (float(first["loss"]), {k: float(v) for k, v in first["terms"].items()}) == (3.0, {"a": 0.75, "b": 4.0})
    assert (second["loss"], second["terms"], second["lr"]) == (None, {}, 0.2)
