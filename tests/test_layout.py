"""Where files stand: tests mirror the packages, folders stay small, and packages import nothing by themselves."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST = 24  # modules in a folder of cl/, beside its __init__.py

SETTINGS = "a record of settings: read, checked and refused in tests/config/test_loading.py"
COMMAND = "a thin command: tests/test_cli.py and tests/commands run it"
RECORDS = "plain records, without logic of their own"
ORDER_NODE = "a node of `cl order`: tests/sample_order/test_plan.py and those beside it execute it"
OF_GRID = "needs the grid of a toy estimator, which tests/sample_order/test_estimator.py builds once"
EXCEPTIONS = {
    "cl/commands/accept.py": "a thin command: tests/commands/test_explain.py runs it",
    "cl/commands/plan.py": COMMAND,
    "cl/commands/report.py": COMMAND,
    "cl/commands/run.py": COMMAND,
    "cl/commands/scenario.py": COMMAND,
    "cl/commands/table.py": "a table: tests/test_cli.py and tests/commands call each of its commands",
    "cl/commands/shared.py": "what the commands share: tests/commands run all of it",
    "cl/config/checkpoints.py": SETTINGS,
    "cl/config/evaluation.py": SETTINGS,
    "cl/config/experiment.py": SETTINGS,
    "cl/config/model.py": SETTINGS,
    "cl/config/sample_order.py": "a record of settings: refused in tests/commands/test_order.py",
    "cl/config/tune.py": "a record of settings: refused in tests/tuning/test_studies.py",
    "cl/execution/collect.py": "reads what was computed: tests/invariants/test_cold_and_warm.py compares it",
    "cl/execution/launchers/launcher.py": "chooses a launcher: tests/execution/launchers call it for each",
    "cl/execution/launchers/local.py": "calls the runner: most of the tests that compute go through it",
    "cl/execution/torchrun_worker.py": "runs in processes of its own: tests/training/test_distributed.py starts them",
    "cl/graph/kinds.py": "a table: tests/graph/test_planner.py and tests/execution/test_runner.py stand on it",
    "cl/graph/measurement_specs.py": RECORDS,
    "cl/graph/run_plan.py": RECORDS,
    "cl/graph/shared_nodes.py": "what all runs stand on: planned in tests/graph and tests/invariants/test_keys.py",
    "cl/methods/contexts.py": RECORDS,
    "cl/methods/cuts_rows.py": "a protocol: tests/strategies/lengths/test_decomposition.py trains with it",
    "cl/methods/edits_rows.py": "a protocol: tests/strategies/data/test_insertion.py trains with it",
    "cl/methods/gates.py": "a protocol: tests/strategies/gating/test_promotion.py decides with it",
    "cl/methods/modulates.py": "a protocol: tests/steps/test_amortise.py computes with it",
    "cl/methods/objective.py": "a protocol and its default: tests/training/test_learner.py trains with both",
    "cl/graph/specs.py": RECORDS,
    "cl/metrics/comparison_result.py": RECORDS,
    "cl/models/exporting.py": "what `cl export` writes: tests/commands/test_export.py opens it",
    "cl/reporting/model_card.py": "what `cl export` says: tests/commands/test_export.py reads it",
    "cl/reporting/html/style.py": "colours and an empty figure",
    "cl/sample_order/fill_grid.py": OF_GRID,
    "cl/sample_order/grid_node.py": ORDER_NODE,
    "cl/sample_order/order_node.py": ORDER_NODE,
    "cl/sample_order/readouts.py": OF_GRID,
    "cl/sample_order/specs.py": RECORDS,
    "cl/steps/consolidate.py": "executed in tests/strategies/adapters/test_lora.py and tests/invariants",
    "cl/steps/context.py": RECORDS,
    "cl/steps/modulate.py": "reads what an amortise node has trained: tests/steps/test_amortise.py runs both",
    "cl/tasks/example.py": RECORDS,
    "cl/tasks/placement.py": "places documents in splits: tests/tasks/test_splitting.py decides with it",
    "cl/tasks/task.py": "a record: loaded in tests/tasks/test_scenario.py",
}


TOGETHER = {
    "cl/metrics/formulas": "tests/metrics/test_continual.py",
    "cl/tasks/answer_scores": "tests/tasks/test_answer_scores.py",
}
"""Folders in which each file adds one thing of a kind; the tests of all stand in one file."""


def modules() -> list[Path]:
    """All modules of ours, relative to the root."""
    found = [path for top in ("cl", "strategies", "scenarios/sources") for path in (ROOT / top).rglob("*.py")]
    return sorted(path.relative_to(ROOT) for path in found if path.name != "__init__.py")


def place_of(module: Path) -> Path:
    """Where the tests of a module stand."""
    if together := TOGETHER.get(module.parent.as_posix()):
        return Path(together)
    folder = module.parent.relative_to("cl") if module.parts[0] == "cl" else module.parent
    return Path("tests") / folder / f"test_{module.name}"


def test_every_module_has_its_tests_or_a_reason() -> None:
    lacking = [str(module) for module in modules() if not (ROOT / place_of(module)).is_file()]
    assert [name for name in lacking if name not in EXCEPTIONS] == []


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_an_exception_is_a_module_without_tests(name: str) -> None:
    assert (ROOT / name).is_file()
    assert not (ROOT / place_of(Path(name))).exists()


def test_no_folder_is_crowded() -> None:
    counts = Counter(module.parent for module in modules() if module.parts[0] == "cl")
    assert {str(folder): count for folder, count in counts.items() if count > MOST} == {}


@pytest.mark.parametrize(
    "path",
    [path for top in ("cl", "strategies", "scenarios") for path in sorted((ROOT / top).glob("*/**/__init__.py"))],
    ids=lambda path: path.parent.relative_to(ROOT).as_posix(),
)
def test_a_package_says_what_it_is_and_imports_nothing(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1
