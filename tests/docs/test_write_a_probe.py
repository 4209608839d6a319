"""The example of docs/write_a_probe.md runs as it stands on the page."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cl.execution import runner
from cl.models.forward import TokenLoss
from cl.probes.probe import State
from tests.support.training import ROOT, SEPARATOR, plan, results, run, tiny, write_toy

PAGE = (ROOT / "docs" / "write_a_probe.md").read_text(encoding="utf-8")
CODE, SETTINGS = (re.search(rf"```{kind}\n(.*?)```", PAGE, re.S) for kind in ("python", "yaml"))


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's module and the toy experiment with its probe."""
    assert CODE is not None
    assert SETTINGS is not None
    write_toy(tmp_path, **yaml.safe_load(SETTINGS[1]))
    (tmp_path / "my_probes.py").write_text(CODE[1], encoding="utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path])
    sys.modules.pop("my_probes", None)
    return tmp_path


class Folders:
    """Data with one set of equal rows."""

    def __init__(self) -> None:
        self.folders, self.split = {"one": Path()}, "test"

    def rows(self, name: str, split: str) -> Any:
        from cl.data.rows import PackedRows

        return PackedRows((torch.arange(65) % 7).numpy(), 16)


def test_a_model_that_knows_nothing_has_the_entropy_of_its_vocabulary(page: Path) -> None:
    spec = importlib.util.spec_from_file_location("my_probes_alone", page / "my_probes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["my_probes_alone"] = module
    spec.loader.exec_module(module)
    model = tiny().eval()
    with torch.no_grad():
        model.lm_head.weight.zero_()
    state = State(TokenLoss(model, SEPARATOR, True), page, "cpu", 4)
    found = module.Entropy(rows=2).measure(state, Folders())
    assert found["one"]["entropy"] == pytest.approx(math.log(model.config.vocab_size), rel=1e-5)


@pytest.mark.slow
def test_the_probe_runs_in_an_experiment_and_trains_nothing_again(page: Path) -> None:
    run(page, "--probes={}")
    graph, store = plan(page)
    assert {node.kind for node in runner.pending(graph.wanted, store)} == {"probe"}
    run(page)
    label = "my_probes:Entropy"
    found = results(page)
    assert [measure["key"] for measure in found["probes"][label]] == ["entropy"]
    rows = found["runs"][0]["probes"][label]
    assert set(rows) == {"0", "1", "2"}
    assert all(values["entropy"] > 0 for row in rows.values() for values in row.values())
    folder = page / "results" / "toyexp"
    assert (folder / "probes.csv").read_text().startswith("run,row,step,set,probe,measure,value\n")
    assert "Probes</h2>" in (folder / "report.html").read_text()
    assert json.loads((folder / "results.json").read_text())["executed"] == 0
