"""Methods that several processes cannot compute are refused while planning."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from cl import cli
from tests.support.training import write_toy


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["--train.devices=3"], "train.devices: 3 does not divide train.batch = 4"),
        (
            ["--train.devices=2", "--train.nodes=3"],
            "train.devices: 2 on each of train.nodes = 3 does not divide train.batch = 4",
        ),
        (["--train.nodes=0"], "train.nodes: 0 must be at least 1"),
        (
            ["--train.devices=2", "--train.micro_batch=4"],
            "train.micro_batch: 4 does not divide train.batch = 4 / 2 devices",
        ),
        (
            ["--train.devices=2", "--strategies={lora_der: }"],
            "train.devices: DER takes rows out of the loss, not as many in each process; use 1",
        ),
        (
            ["--train.devices=2", "--train.distributed=fsdp", "--strategies={lora_lwf: }"],
            "train.distributed: LwF needs whole parameters; use ddp in place of fsdp",
        ),
        (
            ["--train.devices=2", "--train.distributed=fsdp", "--strategies={prompt_tuning: }"],
            "train.distributed: Prompts needs whole parameters; use ddp in place of fsdp",
        ),
        (
            ["--train.devices=2", "--train.distributed=fsdp", "--strategies={osf: }"],
            "train.distributed: OSF needs whole parameters; use ddp in place of fsdp",
        ),
    ],
)
def test_what_cannot_be_right_is_refused_while_planning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: list[str], words: str
) -> None:
    with contextlib.chdir(write_toy(tmp_path / "toy")):
        assert cli.main(["plan", "toyexp.yaml", *settings]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
