"""The named strategies: all are well formed, build, and share their first task."""

from __future__ import annotations

from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

import strategies
from cl.methods.method import Method, Progress, Stage

FILES = sorted(Path(strategies.__file__).parent.glob("*/*.yaml"))
STREAM = [Stage(f"task{t}", {f"task{t}": 1.0}, t, 1000, None if t == 1 else t - 2, t) for t in (1, 2, 3)]


def load(path: Path) -> list[tuple[str, dict[str, Any], Method]]:
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert list(raw) == ["summary", "paper", "keeps", "methods"]
    found = []
    for entry in raw["methods"]:
        ((name, settings),) = entry.items() if isinstance(entry, dict) else ((entry, {}),)
        module, _, attribute = strategies.METHODS[name].partition(":")
        method = getattr(import_module(module), attribute)(**settings)
        assert isinstance(method, Method)
        found.append((name, settings, method))
    return found


def stages(path: Path) -> list[Stage]:
    out = STREAM
    for _, _, method in load(path):
        out = method.stages(out)
    return out


def rate(methods: list[Method], at: Progress) -> float:
    """The one factor that is offered at this step."""
    offers = [f for m in methods if m.active(at.t) and (f := m.schedule(at)) is not None]
    assert len(offers) == 1
    return offers[0]


def test_every_method_can_be_imported() -> None:
    for target in strategies.METHODS.values():
        module, _, attribute = target.partition(":")
        assert issubclass(getattr(import_module(module), attribute), Method)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_exactly_one_schedule_acts_everywhere_and_nothing_is_degenerate(path: Path) -> None:
    methods = [method for _, _, method in load(path)]
    assert not [text for method in methods for text in method.validate([])]
    for stage in stages(path):
        acting = [method for method in methods if method.phase == stage.phase]
        rates = [rate(acting, Progress(step, 1000, stage.t)) for step in range(1000)]
        assert min(rates) > 0
        assert max(rates) <= 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_streams_are_well_formed(path: Path) -> None:
    found = stages(path)
    rows = [stage.row for stage in found if stage.row is not None]
    assert rows == sorted(set(rows))
    assert rows[-1] == 3
    for index, stage in enumerate(found):
        assert stage.parent is None or stage.parent < index
        assert 0 <= stage.start < stage.stop <= 1
        if stage.continues:
            assert stage.parent is not None
            assert (found[stage.parent].stop, found[stage.parent].t) == (stage.start, stage.t)


def test_strategies_that_re_warm_ask_for_the_same_first_task() -> None:
    named = ["finetune", "constant_low", "rewarm", "rewarm_keep", "rewarm_replay", "rewarm_replay_25", "scratch"]
    active = []
    for name in named:
        path = next(path for path in FILES if path.stem == name)
        active.append([(method, settings) for method, settings, built in load(path) if built.active(1)])
    assert all(one == other for one, other in pairwise(active))
    assert active[0] == [("rewarm_cosine", {"tasks": "first"})]


def test_the_constant_strategies_go_on_where_the_first_task_began_and_ended() -> None:
    by_name = {path.stem: [method for _, _, method in load(path)] for path in FILES}
    assert rate(by_name["finetune"], Progress(500, 1000, 2)) == 1
    assert rate(by_name["constant_low"], Progress(0, 1000, 2)) == 0.1
    assert rate(by_name["constant_low"], Progress(999, 1000, 1)) == pytest.approx(0.1, abs=1e-5)
