"""`cl list`."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from cl import cli
from cl.commands import shared


@pytest.fixture(autouse=True)
def console(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns, whatever the tests run in."""
    monkeypatch.setattr(shared, "console", Console(width=80, force_terminal=False, color_system=None))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("strategies", ["finetune", "rewarm_replay", "https://arxiv.org/abs/2403.08763"]),
        ("scenarios", ["english_german", "tiny"]),
        ("models", ["llama-tiny", "smollm2-135m-instruct", "DIRECTORY", "OWNER/NAME"]),
        ("metrics", ["op_t_nll/{t}", "lower is better, nats/token", "Avalanche", "PACKAGE.MODULE:NAME"]),
        ("experiments", ["mine", "What if?"]),
    ],
)
def test_list(toy: Path, capsys: pytest.CaptureFixture[str], kind: str, expected: list[str]) -> None:
    Path("experiments").mkdir()
    Path("experiments/mine.yaml").write_text("question: What if?\n", encoding="utf-8")
    assert cli.main(["list", kind]) == 0
    shown = "".join(capsys.readouterr().out.split("\n"))
    assert [text for text in expected if text not in shown] == []
