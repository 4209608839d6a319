"""Processes that train a node together: their last words, and their refusals."""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cl.config.model import Model
from cl.errors import UserError
from cl.execution import torchrun, transport
from cl.execution.launchers import worker
from cl.execution.launchers.local import Local as LocalLauncher
from cl.execution.store import Store
from cl.graph.specs import Local
from tests.support.nodes import node
from tests.support.training import execute, plan, write_toy


def test_a_process_that_ends_without_a_result_is_told_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchrun.sys, "executable", str(tmp_path / "python"))  # type: ignore[attr-defined]
    (tmp_path / "python").write_text("#!/bin/bash\necho 'out of memory' >&2\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    _, store = plan(write_toy(tmp_path / "toy"))
    with pytest.raises(RuntimeError, match=r"train german: a process ended without a result.*\n.*out of memory"):
        torchrun.train(node("train", "german", local=Local("s", Model(name="m"), devices=2)), store, tmp_path, None)


def test_a_refusal_of_a_process_is_one_of_the_run(tmp_path: Path) -> None:
    of = node("train", "german")
    with pytest.raises(UserError, match=r"lower train\.lr"):
        torchrun._follow(['{"error": "the loss is not finite; lower train.lr"}\n'], of, None)
    assert torchrun._follow(['{"result": {"tokens": 3}}\n'], of, None) == {"tokens": 3}
    assert torchrun._follow([], of, None) is None


@pytest.mark.usefixtures("forked")
@pytest.mark.slow
@pytest.mark.parametrize("distributed", ["ddp", "fsdp"])
def test_two_machines_train_as_one_process(tmp_path: Path, distributed: str) -> None:
    """Two torchruns of this machine, which share a folder; the second is told nothing but what to compute."""
    folder = write_toy(tmp_path / "toy")
    found = []
    for settings in ("--store=one",), ("--store=two", "--train.nodes=2", f"--train.distributed={distributed}"):
        graph, store = plan(folder, *settings)
        stages = [stage.node for stage in graph.runs[0].stages]
        with contextlib.chdir(folder):
            sent = transport.pack(stages)
        other = threading.Thread(target=worker.work_along, args=(sent, worker.address(store), 1, 1))
        if "--store=two" in settings:
            other.start()
        execute(folder, stages[-1], Store(worker.address(store)))
        if "--store=two" in settings:
            other.join(60)
            assert not other.is_alive()
        found.append([store.result(node) for node in stages])
    for alone, together in zip(*found, strict=True):
        assert (alone["devices"], together["devices"]) == (1, 2)
        assert together["ledger"] == alone["ledger"]
        curves = ([point["loss"] for point in each["points"][1:]] for each in (together, alone))
        assert next(curves) == pytest.approx(next(curves), rel=1e-4)


def test_an_invitation_is_accepted_once_and_left_when_it_is_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leader that was killed leaves an invitation to a meeting that no longer takes place."""
    (tmp_path / "python").write_text(f"#!/bin/bash\necho >> {tmp_path}/started\nexec sleep 60\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(torchrun.sys, "executable", str(tmp_path / "python"))  # type: ignore[attr-defined]
    monkeypatch.setattr(torchrun, "LOOK", 0.01)
    store = Store(tmp_path / "store")
    of = node("train", "german", local=Local("s", Model(name="m"), machines=2))
    work = store.scratch / "work" / of.key
    work.mkdir(parents=True)
    stored: list[bool] = []
    monkeypatch.setattr(store, "has", lambda node: bool(stored))
    other = threading.Thread(target=torchrun.join, args=([of], store, 1))
    other.start()
    for name in ("stale", "new"):
        invitation: dict[str, Any] = {"id": name, "address": "here", "port": 1}
        (work / torchrun.INVITATION).write_text(json.dumps(invitation))
        while (tmp_path / "started").exists() is False or len((tmp_path / "started").read_text()) < 1 + (name == "new"):
            assert other.is_alive()
    stored.append(True)
    (work / torchrun.INVITATION).unlink()
    other.join(10)
    assert not other.is_alive()
    assert len((tmp_path / "started").read_text()) == 2


def test_several_machines_need_a_launcher_that_has_them_and_a_shared_folder(tmp_path: Path) -> None:
    of = node("train", "german", local=Local("s", Model(name="m"), machines=2))
    with pytest.raises(UserError, match=r"train\.nodes: 2 machines need launcher slurm or ray"):
        LocalLauncher(SimpleNamespace(fail_fast=False)).launch([of], None, None, ())
    bucket = Store("memory://bucket", tmp_path)
    with pytest.raises(UserError, match=r"train\.nodes: 2 machines need a store in a folder"):
        torchrun.train(of, bucket, tmp_path, None)
