"""A stage cut into trunk and fork is the stage in one go."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.training import (
    run,
    stage_results,
    weights,
    write_strategy,
    write_toy,
)


@pytest.mark.slow
def test_trunk_and_fork_are_one_stage_bit_for_bit(tmp_path: Path) -> None:
    folder = write_toy(tmp_path, strategies={"infinite_cosine": None, "whole": None})
    write_strategy(folder, "whole", [{"tests.support.training:Whole": {}}, {"optimizer_state": {"policy": "keep"}}])
    run(folder)
    trunk, anneal, *_ = weights(folder, "infinite_cosine")
    whole = weights(folder, "whole")[0]
    assert anneal == whole
    assert trunk != whole
    forked, uncut = stage_results(folder, "infinite_cosine"), stage_results(folder, "whole")
    assert forked[1]["ledger"] == uncut[0]["ledger"]
    assert forked[0]["tokens"] + forked[1]["tokens"] == uncut[0]["tokens"]
