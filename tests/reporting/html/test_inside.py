"""Pictures of states inside stages."""

from __future__ import annotations

import pytest

from cl.metrics.records import Inside
from cl.reporting.html.figures import figures
from cl.reporting.html.groups import groups
from cl.reporting.html.inside import inside_figures
from tests.support.results import probed


def test_a_stage_that_was_probed_inside_is_a_curve_from_the_state_before_it() -> None:
    result = probed()
    for run in result.runs:
        run.inside[:] = [Inside("linear", 2, step, {"english": {"accuracy": step / 100}}) for step in (30, 3)]
    found = inside_figures(groups(result), "linear", result.probes["linear"][0])
    assert list(found) == ["probe/linear/accuracy/2"]
    lines = {line.name: line for line in found["probe/linear/accuracy/2"].data}
    before, end = (result.runs[0].probes["linear"][row]["english"]["accuracy"] for row in (1, 2))
    line = lines["finetune, english"]
    assert list(line.x) == [0.5, 3, 30, result.runs[0].stages[1].points[-1].step]
    assert list(line.y) == pytest.approx([before, 0.03, 0.3, end])
    assert "probe/linear/accuracy/2" in figures(result)
