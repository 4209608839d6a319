"""LoRA's lives over a stream of instructions: what they share, what each is tested with, and what is stored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cl.errors import UserError
from cl.graph.measurement_specs import EvaluateSpec
from tests.support.instruction import write_stream
from tests.support.nodes import spec_of
from tests.support.training import learn, plan, run
from tests.support.training import results as result

pytestmark = [pytest.mark.filterwarnings(f"ignore:{name}") for name in ("reglora", "inf_lora")]
SHARING = [
    "lora_sequential",
    "lora_incremental",
    "lora_merged",
    "reglora",
    "o_lora",
    "lora_ewc",
    "lora_mas",
    "lora_replay",
    "lora_lwf",
    "lora_agem",
    "lora_der",
    "lora_alone",
]
LORAS = [*SHARING, "prompt_tuning", "moe_lora", "osf", "n_lora", "inf_lora", "lora_si", "ewc"]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_stream(tmp_path_factory.mktemp("stream"), strategies=dict.fromkeys(LORAS))
    run(folder)
    return folder


@pytest.mark.slow
def test_the_first_task_is_trained_once_for_all_lives_and_penalties(done: Path) -> None:
    by_label = {each["strategy"]: [stage["key"] for stage in each["stages"]] for each in result(done)["runs"]}
    assert len({by_label[label][0] for label in SHARING}) == 1
    assert len({by_label[label][1] for label in LORAS}) == len(LORAS)
    assert by_label["ewc"][0] != by_label["lora_ewc"][0]


@pytest.mark.slow
def test_every_answer_is_kept_and_means_are_theirs(done: Path) -> None:
    planned, store = plan(done)
    for each, stored in zip(planned.runs, result(done)["runs"], strict=True):
        for t, node in each.rows.items():
            for name, cell in stored["matrix"][str(t)].items():
                lines = (store.path(node) / "items" / f"{name}.jsonl").read_text().splitlines()
                items = [json.loads(line) for line in lines]
                assert cell["items"] == len(items) == 6
                for score in ("strict", "normalised", "format_ok"):
                    assert cell["scores"][score] == pytest.approx(sum(item[score] for item in items) / 6)


@pytest.mark.slow
@pytest.mark.parametrize("label", ["lora_alone", "prompt_tuning"])
def test_a_task_is_tested_with_its_own_adapter_and_data_without_one_by_the_base_model(done: Path, label: str) -> None:
    planned, _ = plan(done, f"--strategies={{{label}: null}}")
    rows = planned.runs[0].rows
    assert [spec_of(rows[t], EvaluateSpec).select for t in (0, 1, 2)] == [
        None,
        {"copy": "t1"},
        {"copy": "t1", "which": "t2"},
    ]
    matrix = next(each["matrix"] for each in result(done)["runs"] if each["strategy"] == label)
    assert matrix["1"]["which"] == matrix["0"]["which"]
    assert matrix["2"]["copy"] == matrix["1"]["copy"] != matrix["0"]["copy"]
    assert matrix["2"]["which"] != matrix["1"]["which"]


@pytest.mark.slow
def test_an_adapter_alone_is_tested_as_the_first_of_any_life(done: Path) -> None:
    alone, sequential = (
        next(each["matrix"] for each in result(done)["runs"] if each["strategy"] == label)
        for label in ("lora_alone", "lora_sequential")
    )
    assert alone["1"]["copy"] == sequential["1"]["copy"]
    assert alone["2"]["copy"] != sequential["2"]["copy"]


def test_two_methods_that_add_adapters_are_refused(tmp_path: Path) -> None:
    folder = write_stream(tmp_path)
    (folder / "strategies").mkdir()
    (folder / "strategies" / "two.yaml").write_text("{summary: t, paper: p, keeps: k, methods: [lora, prompts]}")
    with pytest.raises(UserError, match=r"strategies\.two: lora and prompts both add adapters; keep one"):
        plan(folder, "--strategies={two: null}")


@pytest.mark.slow
def test_again_nothing_is_executed(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = result(done)["runs"]
    run(done)
    assert result(done)["executed"] == 0
    for old, new in zip(before, result(done)["runs"], strict=True):
        assert old["matrix"] == new["matrix"]


@pytest.mark.slow
def test_adapters_alone_are_stored(done: Path) -> None:
    planned, store = plan(done, "--strategies={reglora: null}")
    state = store.path(planned.runs[0].stages[1].node)
    assert json.loads((state / "adapters.json").read_text()) == {"t1": "merged", "t2": "trained"}
    memory = store.path(next(p for r, p in planned.runs[0].stages[1].node.parents.items() if r.kind == "memory"))
    assert all(value.dtype == torch.uint8 for value in load_file(memory / "memory.safetensors").values())


@pytest.mark.parametrize("life", ["continue", "stack", "merge", "alone"])
def test_a_fork_goes_on_with_its_trunk_s_adapter(life: str, tmp_path: Path) -> None:
    folder = write_stream(tmp_path, strategies={"forked": None})
    (folder / "strategies").mkdir()
    text = f"{{summary: s, paper: p, keeps: k, methods: [inf_cosine, {{lora: {{life: {life}}}}}]}}"
    (folder / "strategies" / "forked.yaml").write_text(text)
    states = [json.loads((state / "adapters.json").read_text()) for state in learn(folder)]
    earlier = {"continue": {}, "stack": {"t1": "frozen"}, "merge": {"t1": "merged"}, "alone": {"t1": "kept"}}[life]
    last = {"t1": "trained"} if life == "continue" else {**earlier, "t2": "trained"}
    assert states == [{"t1": "trained"}, {"t1": "trained"}, last, last]
