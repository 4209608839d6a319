"""The speed of a few steps: extrapolated over layers by hand, kept, and asked for only where it may be measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cl.config.model import Model
from cl.config.train import Optimization
from cl.execution import step_speed
from cl.graph.specs import Compute

CPU, TRAIN = Compute("cpu", "fp32"), Optimization(batch=4, sequence=32)
TINY = Model("llama-tiny", vocabulary=300)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "cl" / "steps"


def test_further_layers_take_as_long_as_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []

    def seconds(config: Any, layers: int, *_: Any) -> float:
        seen.append((layers, config.vocab_size))
        return {1: 0.5, 2: 0.7}[layers]

    monkeypatch.setattr(step_speed, "_seconds", seconds)
    found = step_speed.tokens_per_second(Model("llama-2m", vocabulary=512), TRAIN, CPU, measure=True)
    assert seen == [(1, 512), (2, 512)]
    assert found == pytest.approx(4 * 32 / (0.5 + 2 * 0.2))  # three layers


def test_a_speed_is_measured_once_for_each_shape(cache: Path) -> None:
    assert step_speed.tokens_per_second(TINY, TRAIN, CPU, measure=False) is None
    found = step_speed.tokens_per_second(TINY, TRAIN, CPU, measure=True)
    assert found is not None
    assert found > 0
    assert step_speed.tokens_per_second(TINY, TRAIN, CPU, measure=False) == found
    assert [json.loads(file.read_text())["tokens_per_second"] for file in cache.iterdir()] == [found]
    for other in (replace(TRAIN, sequence=64), replace(TRAIN, batch=8)):
        assert step_speed.tokens_per_second(TINY, other, CPU, measure=False) is None
    assert step_speed.tokens_per_second(replace(TINY, vocabulary=400), TRAIN, CPU, measure=False) is None


def test_what_is_not_measured() -> None:
    assert step_speed.tokens_per_second(Model("someone/model", revision="1"), TRAIN, CPU, measure=True) is None
    assert step_speed.tokens_per_second(TINY, TRAIN, Compute("cuda", "bf16"), measure=True) is None
    wide = Model("llama-2m", vocabulary=9_000_000)
    assert step_speed.tokens_per_second(wide, TRAIN, CPU, measure=True) is None


def test_random_numbers_of_a_run_do_not_change() -> None:
    import torch

    torch.manual_seed(0)
    step_speed.tokens_per_second(TINY, TRAIN, CPU, measure=True)
    after = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(3))
