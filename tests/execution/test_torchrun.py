"""Processes that train a node together: their last words, and their refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl.config.model import Model
from cl.errors import UserError
from cl.execution import torchrun
from cl.graph.specs import Local
from tests.support.nodes import node
from tests.support.training import plan, write_toy


def test_a_process_that_ends_without_a_result_is_told_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchrun.sys, "executable", str(tmp_path / "python"))  # type: ignore[attr-defined]
    (tmp_path / "python").write_text("#!/bin/bash\necho 'out of memory' >&2\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    _, store = plan(write_toy(tmp_path / "toy"))
    with pytest.raises(RuntimeError, match=r"train german: a process ended without a result.*\n.*out of memory"):
        torchrun.train(node("train", "german", local=Local("s", Model(name="m"), devices=2)), store, tmp_path, None)


def test_a_refusal_of_a_process_is_one_of_the_run(tmp_path: Path) -> None:
    of = node("train", "german")
    with pytest.raises(UserError, match=r"lower train\.lr"):
        torchrun._follow(['{"error": "the loss is not finite; lower train.lr"}\n'], of, None)
    assert torchrun._follow(['{"result": {"tokens": 3}}\n'], of, None) == {"tokens": 3}
    assert torchrun._follow([], of, None) is None
