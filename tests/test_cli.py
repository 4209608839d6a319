"""The command line: what it loads, what it prints, and one line for a mistake."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cl import cli
from cl.commands import shared
from tests.support.instruction import write_stream

HEAVY = ("torch", "transformers", "mlflow", "pytorch_lightning", "datasets", "plotly", "numpy")


@pytest.fixture(autouse=True)
def console(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns, whatever the tests run in."""
    monkeypatch.setattr(shared, "console", Console(width=80, force_terminal=False, color_system=None))


@pytest.mark.parametrize("arguments", [[], ["--help"], ["run", "--help"], ["store", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom cl.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        f"print('LOADED', sorted(set({HEAVY}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: cl")
    assert done.stdout.endswith("LOADED []\n")


def test_help_names_commands_settings_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, expected in (
        (
            ["--help"],
            ["run", "plan", "report", "scenario", "list", "store", "  cl plan quickstart\n", "exit codes: 0 done"],
        ),
        (["run", "--help"], ["--train.lr  float; default: 0.001\n        peak learning rate;", "--seeds  list of int"]),
        (["plan", "--help"], ["--train.lr  float"]),
    ):
        with pytest.raises(SystemExit) as left:
            cli.main(arguments)
        assert left.value.code == 0
        shown = capsys.readouterr().out
        assert [text for text in expected if text not in shown] == []


@pytest.mark.parametrize("name", ["finetune", "rewarm_replay"])
def test_settings_are_not_described_where_nobody_asked(name: str) -> None:
    assert "--train.lr" not in cli.build_parser(["run", name]).format_help()


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a command with bad input leaves."""
    assert cli.main(list(arguments)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("cl: error: ")
    return lines[0].removeprefix("cl: error: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("ran toy.yaml", "argument subcommand: invalid choice: 'ran'"),
        ("run", "the following arguments are required: run.experiment"),
        ("run nothing", "experiments: 'nothing' is unknown"),
        ("run quickstrat", "experiments: 'quickstrat' is unknown; did you mean 'quickstart'?"),
        ("run nothing.yaml", "experiments: there is no file 'nothing.yaml'"),
        ("run toy.yaml --strategies={rewram: }", "strategies: 'rewram' is unknown; did you mean 'rewarm'?"),
        ("run toy.yaml --train.lrr=1", "train.lrr: an experiment has no such setting; did you mean train.lr?"),
        ("run toy.yaml --train.lr=fast", "train.lr: 'fast' is not of type float"),
        ("run toy.yaml --train.lr 1", "--train.lr: has no value; write --train.lr=VALUE, with the equals sign"),
        ("run toy.yaml more", "unrecognized arguments: more"),
        ("run toy.yaml --tokens={english: 1024, germna: 1024}", "tokens: task: 'germna' is unknown; did you mean"),
        ("run toy.yaml --scenario=nothing.yaml", "scenarios: there is no file 'nothing.yaml'"),
        ("run toy.yaml --scenario=missing.yaml", "path: there is no file"),
        (
            "run toy.yaml --scenario=column.yaml",
            "english: lines.jsonl, line 1: there is no column 'txet' (columns: text)",
        ),
        ("run toy.yaml --scenario=empty.yaml", "english: the validation split is empty (1 documents read"),
        ("run toy.yaml --model.name=./nowhere", "model.name: './nowhere' is no directory"),
        ("run toy.yaml --store=nosuch://bucket", "store: cannot open 'nosuch://bucket'"),
        ("plan toy.yaml --seeds=[]", "seeds: [] must be different whole numbers"),
        ("report nothing.json", "results: there is no file 'nothing.json'; `cl run` writes results/NAME/results.json"),
        ("report languages.yaml", "results: languages.yaml is no results.json of this version"),
        ("report empty.json", "results: empty.json is no results.json of this version"),
        ("list things", "argument kind: invalid choice: 'things'"),
        ("scenario show nothing", "scenarios: 'nothing' is unknown"),
        ("store ls", "store: there is no store at 'store'; `cl run` makes one"),
        ("store gc --store=elsewhere", "store: there is no store at 'elsewhere'"),
        ("store prune", "argument action: invalid choice: 'prune'"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    toy: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    source = "summary: s\nversion: 1\ntasks:\n  english: {{sources: [{{source: files, path: {}}}]}}\n"
    Path("missing.yaml").write_text(source.format("nothing.txt"), encoding="utf-8")
    Path("column.yaml").write_text(source.format("lines.jsonl, column: txet"), encoding="utf-8")
    Path("lines.jsonl").write_text('{"text": "some"}\n' * 3, encoding="utf-8")
    Path("empty.yaml").write_text(source.format("one.txt"), encoding="utf-8")
    Path("one.txt").write_text("one document", encoding="utf-8")
    Path("empty.json").write_text("{}", encoding="utf-8")
    before, after = arguments.split(" --", 1) if " --" in arguments else (arguments, "")
    options = [f"--{option}" for option in after.split(" --") if option] if "=" in after else f"--{after}".split()
    found = told(capsys, *before.split(), *(options if after else []))
    assert message in found
    assert not Path("results").exists()


def test_a_defect_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cl.commands.list.list_names", lambda kind: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["list", "models"])


def test_an_interruption_says_how_to_go_on(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cl.commands.run.run", interrupt)
    assert cli.main(["run", "toy.yaml"]) == 130
    assert "run it again to go on" in capsys.readouterr().err


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
