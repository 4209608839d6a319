"""The example of docs/write_a_metric.md, run as a user's file and as a file of the package."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from cl.config.compare import Compare
from cl.errors import UserError
from cl.metrics import catalog, comparison, continual, disclosure, formulas
from cl.metrics.run_metrics import better, named
from cl.reporting.html import comparison as report
from cl.tuning import studies
from tests.support.results import contenders, one_run

PAGE = Path(__file__).parents[2] / "docs" / "write_a_metric.md"
EXAMPLE, LOSSES_LINE, CHECK = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
KEY = "my_metrics:worst_task"


@pytest.fixture(autouse=True)
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The example as the page says: `my_metrics.py` in the working directory."""
    file = tmp_path / "my_metrics.py"
    file.write_text(EXAMPLE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield file
    sys.modules.pop("my_metrics", None)


def test_the_example_has_the_value_computed_by_hand() -> None:
    exec(compile(CHECK, str(PAGE), "exec"), {})
    run = one_run({0: {"english": 5.0, "german": 6.0}, 1: {"english": 2.0, "german": 5.0},
                   2: {"english": 2.5, "german": 3.0}})  # fmt: skip
    assert named(run, keys=[KEY])[KEY].value == 0.5
    alone = one_run({0: {"english": 5.0}, 1: {"english": 2.0}}, ["english"])
    assert named(alone, keys=[KEY])[KEY].reason == "needs at least 2 tasks, there are 1"


def test_the_line_on_losses_is_one_of_the_package() -> None:
    source = Path(str(formulas.__file__)).with_name("forgetting.py").read_text(encoding="utf-8")
    assert LOSSES_LINE in source


def test_a_comparison_tests_and_shows_the_example(tmp_path: Path) -> None:
    wanted = Compare(metrics=["op_final_nll", KEY])
    having = continual.defined(2, 0, 0, scored=False, keys=wanted.metrics or ())
    comparison.check(["finetune", "rewarm"], 2, wanted, having)
    found = comparison.compare(contenders(), wanted)
    (test,) = [one for one in found.contrasts if one.metric == KEY and one.a == "rewarm"]
    assert (better(KEY), test.verdict) == ("lower", "worse")
    assert test.mean == pytest.approx(7.46 - 7.12)  # both learned the first task to the same loss
    page = tmp_path / "page.html"
    report.write("?", found, "", [], page)
    assert f"{KEY}, lower is better" in page.read_text(encoding="utf-8")


def test_the_record_of_a_comparison_says_what_the_example_declares() -> None:
    found = comparison.compare(contenders(), Compare(metrics=[KEY]))
    said = yaml.safe_load(disclosure.text({"conventions": disclosure.conventions(found)}))["conventions"][KEY]
    described = "Maximum over tasks i < T of R[T,i] - R[i,i], with R the loss."
    assert said.startswith(f"{described} In nats/token, lower is better. Source: ours")


def test_the_example_is_an_objective_of_a_study() -> None:
    studies._check_objectives([KEY], 2, 0, scored=False)
    with pytest.raises(UserError, match=r"my_metrics:worst_task of 1 task\(s\) is undefined: needs at least 2 tasks"):
        studies._check_objectives([KEY], 1, 0, scored=False)


def test_a_file_in_the_package_needs_nothing_else(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formulas, "__path__", [*formulas.__path__, str(example.parent)])
    catalog.declared.cache_clear()
    found = continual.summary(np.array([[5.0, 6.0], [2.0, 5.5], [2.5, 3.0]]), higher_is_better=False)
    assert found["forgetting/worst_task_nll"].value == 0.5
    assert better("forgetting/worst_task_nll") == "lower"
    monkeypatch.undo()
    catalog.declared.cache_clear()
    sys.modules.pop("cl.metrics.formulas.my_metrics", None)
