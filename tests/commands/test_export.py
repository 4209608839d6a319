"""Exporting: plain transformers and peft open the folder, the card says what was learned, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cl import cli
from cl.models import adapters
from tests.support.training import dropout_model, plan, write_toy

STRATEGIES = {"finetune": None, "lora_sequential": None, "lora_merged": None, "moe_lora": None}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished experiment with a local model."""
    folder = tmp_path_factory.mktemp("export")
    dropout_model(folder / "base")
    write_toy(folder, model={"name": str(folder / "base")}, strategies=STRATEGIES, tokens=512)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert cli.main(["run", "toyexp.yaml", "--tracking.uri=none"]) == 0
    return folder


def export(done: Path, to: Path, strategy: str, *options: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(done)
        return cli.main(["export", "toyexp.yaml", f"--only=strategies.{strategy}", f"--to={to}", *options])


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=torch.arange(20)[None]).logits
    return found


def expected(done: Path, strategy: str, row: int) -> torch.Tensor:
    graph, store = plan(done)
    run = next(run for run in graph.runs if run.strategy.label == strategy)
    state = store.path(graph.base if row == 0 else run.stages[row - 1].node)
    return logits(adapters.load(state, store.path(graph.base)))


@pytest.mark.parametrize("row", [0, 1, 2])
def test_transformers_opens_the_model_of_any_row(done: Path, tmp_path: Path, row: int) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert export(done, tmp_path / "model", "finetune", f"--row={row}") == 0
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert torch.equal(logits(model), expected(done, "finetune", row))
    assert len(AutoTokenizer.from_pretrained(tmp_path / "model")) == 300
    assert not (tmp_path / "model" / "node.json").exists()


def test_peft_opens_an_adapter_on_the_base_model(done: Path, tmp_path: Path) -> None:
    from peft import AutoPeftModelForCausalLM

    assert export(done, tmp_path / "adapter", "lora_sequential") == 0
    model = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")
    torch.testing.assert_close(logits(model), expected(done, "lora_sequential", 2))


@pytest.mark.parametrize("strategy", ["lora_sequential", "lora_merged"])
def test_adapters_are_merged_if_asked(done: Path, tmp_path: Path, strategy: str) -> None:
    from transformers import AutoModelForCausalLM

    assert export(done, tmp_path / "model", strategy, "--merged") == 0
    found = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "model"))
    torch.testing.assert_close(found, expected(done, strategy, 2), rtol=1e-4, atol=1e-5)


def test_the_card_says_stream_method_memory_and_data(done: Path, tmp_path: Path) -> None:
    assert export(done, tmp_path / "model", "finetune") == 0
    text = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    head, body = text.removeprefix("---\n").split("---\n", 1)
    assert yaml.safe_load(head) == {
        "library_name": "transformers",
        "tags": ["continual-learning"],
        "pipeline_tag": "text-generation",
        "base_model": str(done / "base"),
    }
    assert "after english > german" in body
    assert "Strategy **finetune**" in body
    rows = [
        line.split(" | ") for line in body.splitlines() if line.startswith(("| nothing", "| english |", "| german |"))
    ]
    assert [row[0] for row in rows[:3]] == ["| nothing", "| english", "| german"]
    assert float(rows[2][1]) > 0
    assert "| set | sources | licence |" in body
    assert "cl run toyexp.yaml --only=strategies.finetune" in body


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (
            ["--only=strategies.lora_merged"],
            "export: the state stands on 2 adapters, which one folder cannot hold; add",
        ),
        (["--only=strategies.moe_lora"], "export: the adapter has experts, which plain peft cannot open"),
        (["--only=strategies.moe_lora", "--merged"], "neither a prompt nor experts can be merged"),
        (["--only=strategies.finetune", "--row=3"], "--row: 3 is not evaluated by this run; rows are 0, 1, 2"),
        ([], "export: 4 runs, and one can be exported; add --only=strategies.finetune,seeds.0"),
        (["--until=row.1"], "export: --until and --only-kind choose no run; use --only and --row"),
        (["--only=strategies.finetune", "--train.lr=0.5"], "nodes of this run are not stored; compute them by: cl run"),
    ],
)
def test_what_cannot_be_exported(
    done: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    error: str,
) -> None:
    monkeypatch.chdir(done)
    assert cli.main(["export", "toyexp.yaml", f"--to={tmp_path / 'model'}", *options]) == 2
    assert error in capsys.readouterr().err


def test_a_folder_that_holds_something_is_kept(done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert export(done, tmp_path, "finetune") == 2
    assert "exists and is not empty; name a new folder" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_the_hub_gets_the_folder(
    done: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sent: dict[str, Any] = {}

    class Api:
        def create_repo(self, name: str, **options: Any) -> None:
            sent["repo"] = (name, options)

        def upload_folder(self, repo_id: str, folder_path: str, **_: Any) -> str:
            sent["files"] = {file.name for file in Path(folder_path).iterdir()}
            return f"https://hub/{repo_id}"

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    assert export(done, Path("hub:me/model"), "finetune") == 0
    assert sent["repo"] == ("me/model", {"private": True, "exist_ok": True})
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= sent["files"]
    assert "uploaded https://hub/me/model" in capsys.readouterr().out


def test_without_a_network_the_hub_is_one_line(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(done, Path("hub:me/model"), "finetune") == 2
    assert "--to: hub:me/model:" in capsys.readouterr().err
