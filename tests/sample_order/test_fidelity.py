"""Whether an estimator may be believed."""

from __future__ import annotations

from pathlib import Path

from cl.sample_order import estimator as estimators
from cl.sample_order.fidelity import fidelity
from tests.support.sample_order import toy_stream


def test_fidelity_is_worse_where_the_rate_is_too_high(tmp_path: Path) -> None:
    found = [fidelity(estimators.build(toy_stream(lr=lr), tmp_path / str(lr))) for lr in (1e-4, 3e-2)]
    assert found[0].defect < found[1].defect
    assert found[0].held_out < found[1].held_out
    assert (found[0].verdict, found[0].readout) == ("trust", "forward")
