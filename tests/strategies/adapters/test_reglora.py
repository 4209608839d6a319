"""RegLoRA: which entries are protected, where it acts, and settings that are refused."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch

from cl import cli
from cl.errors import UserError
from strategies.adapters.protected_entries import pack
from strategies.adapters.reglora import RegLora
from tests.support.instruction import write_stream


def test_memory_says_how_many_tasks_protect_an_entry() -> None:
    first, second = torch.tensor([[True, False], [True, False]]), torch.tensor([[True, True], [False, False]])
    method = RegLora()
    method.remember({"layer/1@2x2": pack(first), "layer/2@2x2": pack(second)})
    assert method.counts["layer"].tolist() == [[2, 1], [1, 0]]


def test_nothing_to_protect_is_an_error_with_its_remedy() -> None:
    with pytest.raises(UserError, match=r"reglora: keep: 0\.001 protects no entry .*; raise it"):
        RegLora(keep=0.001).remember({"layer/1@2x2": pack(torch.zeros(2, 2, dtype=torch.bool))})


@pytest.mark.parametrize("settings", [{"keep": 0.0}, {"weight": 0.0}])
def test_neutral_settings_are_not_there_at_all(settings: dict[str, float]) -> None:
    method = RegLora(**settings)
    assert not method.active(2)
    assert len(method.validate([])) == 1


def test_not_in_the_first_task() -> None:
    assert not RegLora().active(1)
    assert RegLora().active(2)


@pytest.mark.parametrize("settings", [{"keep": 1.5}, {"keep": -0.1}, {"weight": -1.0}])
def test_meaningless_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(UserError, match="must be a share"):
        RegLora(**settings)


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
