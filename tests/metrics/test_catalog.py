"""The catalog: every metric declares itself, every key is found, user's own metrics are imported."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cl.errors import UserError
from cl.metrics import catalog, continual, formulas
from cl.metrics.formula import Formula

DECLARED = {each.key: each for each in catalog.declared()}


@pytest.mark.parametrize("key", DECLARED)
def test_every_metric_declares_direction_unit_description_and_source(key: str) -> None:
    metric = DECLARED[key]
    assert metric.better in ("lower", "higher")
    assert metric.unit in ("score in [0, 1]", "difference of scores, in [-1, 1]", "nats/token")
    assert metric.unit == "nats/token" or metric.inputs != ("losses",)
    assert re.fullmatch(r".{5,110}\.", metric.description)
    assert metric.source


def test_every_key_that_a_run_can_have_is_declared_and_found() -> None:
    having = continual.defined(3, 1, 0, scored=True)
    owners = [[each.key for each in catalog.declared() if each.matching(key)] for key in having]
    assert all(len(owner) == 1 for owner in owners)
    of_curves = {"min_acc/every_{n}", "wc_acc/every_{n}"}
    assert {key for (key,) in owners} == {*DECLARED} - of_curves
    assert [catalog.find(key).key for key in having] == list(having)
    assert not any(metric.reason for metric in having.values())


def test_metrics_that_compare_rows() -> None:
    apart = {"op_final", "op_mean", "mft", "op_t/{t}", "learned/{t}"}
    apart |= {"op_final_nll", "op_mean_nll", "mft_nll", "op_t_nll/{t}", "learned_nll/{t}"}
    assert {key for key, each in DECLARED.items() if not each.compares_rows} == apart


def test_metrics_that_are_mean_losses() -> None:
    assert {key for key, each in DECLARED.items() if each.mean_loss} == {"op_final_nll", "op_mean_nll", "mft_nll"}


def test_a_key_of_a_family_is_found() -> None:
    assert catalog.find("min_acc/every_25").better == "higher"
    assert catalog.find("op_t_nll/12").better == "lower"


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("forgetting/chaudry", r"metric: 'forgetting/chaudry' is unknown; did you mean 'forgetting/chaudhry'\?"),
        ("op_t_nll", "is unknown"),
        ("no_such_module:metric", "cannot import 'no_such_module:metric'"),
        ("cl.metrics.formulas.forgetting:no", "has no 'no'"),
        ("cl.metrics.formulas.forgetting:mean", "is not a single"),
        ("cl.metrics.formulas.performance:op_t", "is not a single"),
    ],
)
def test_what_is_no_metric_is_refused(key: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        catalog.find(key)


def test_the_key_of_a_metric_outside_the_package_is_its_path() -> None:
    path = "cl.metrics.formulas.forgetting:first"
    found = continual.summary(np.array([[0.0, 0.0], [0.75, 0.0], [0.5, 0.5]]), keys=["mft", path])
    assert isinstance(catalog.find(path), Formula)
    assert (found[path].key, found[path].value) == (path, 0.25)


def test_a_key_is_declared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(str(formulas.__file__)).with_name("forward_transfer.py").read_text(encoding="utf-8")
    (tmp_path / "zz_again.py").write_text(source, encoding="utf-8")
    monkeypatch.setattr(formulas, "__path__", [*formulas.__path__, str(tmp_path)])
    catalog.declared.cache_clear()
    with pytest.raises(UserError, match=r"metric 'fwt/gem': is declared twice, the second time in .*zz_again"):
        catalog.declared()
    monkeypatch.undo()
    assert {each.key for each in catalog.declared()} == {*DECLARED}


def test_metrics_need_no_torch() -> None:
    code = "import sys; from cl.metrics import catalog; catalog.declared(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
