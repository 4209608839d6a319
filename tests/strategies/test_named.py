"""The named strategies: all are well formed, build without torch, and share their first task."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

import strategies
from cl.methods.cuts_rows import CutsRows
from cl.methods.edits_rows import EditsRows
from cl.methods.gates import Gates
from cl.methods.method import (
    Merges,
    Method,
    PlansStages,
    Progress,
    Remembers,
    Selects,
    Stage,
    TakesRows,
    Trains,
    TransformsData,
)
from cl.methods.modulates import Modulates
from cl.methods.retrieves import Retrieves

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
        out = method.stages(out) if isinstance(method, PlansStages) else out
    return out


def rate(methods: list[Method], at: Progress) -> float:
    """The one factor that is offered at this step."""
    training = [method for method in methods if isinstance(method, Trains) and method.active(at.t)]
    offers = [factor for method in training if (factor := method.schedule(at)) is not None]
    assert len(offers) == 1
    return offers[0]


def classes() -> dict[str, type[Method]]:
    """The methods by name."""
    found = {}
    for name, target in strategies.METHODS.items():
        module, _, attribute = target.partition(":")
        found[name] = getattr(import_module(module), attribute)
    return found


def hooks(protocol: type[Method]) -> list[str]:
    """Names that a protocol defines, without those of the protocols that it extends."""
    return [name for name in vars(protocol) if not name.startswith("_") and callable(getattr(protocol, name))]


def overridden(cls: type[Method], protocol: type[Method]) -> bool:
    return any(getattr(cls, hook) is not getattr(protocol, hook) for hook in hooks(protocol))


def test_every_method_can_be_imported() -> None:
    assert all(issubclass(cls, Method) for cls in classes().values())


@pytest.mark.parametrize("name", strategies.METHODS)
def test_a_method_is_a_dataclass_compared_by_identity_whose_settings_have_defaults(name: str) -> None:
    cls = classes()[name]
    assert "__dataclass_fields__" in vars(cls)
    assert cls.__eq__ is object.__eq__
    assert not {each.name for each in fields(cls) if each.init} & {"memory_settings", "selection_settings", "phase"}


PROTOCOLS = (
    PlansStages,
    TransformsData,
    Trains,
    TakesRows,
    EditsRows,
    CutsRows,
    Remembers,
    Selects,
    Gates,
    Merges,
    Retrieves,
    Modulates,
)


@pytest.mark.parametrize("name", strategies.METHODS)
def test_a_method_derives_from_the_protocols_whose_hooks_it_overrides_and_from_no_other(name: str) -> None:
    cls = classes()[name]
    derived = {protocol for protocol in PROTOCOLS if issubclass(cls, protocol)}
    assert derived
    extended = {other for one in derived for other in derived - {one} if issubclass(one, other)}
    assert all(overridden(cls, protocol) for protocol in derived - extended)
    assert not [hook for other in {*PROTOCOLS} - derived for hook in hooks(other) if hasattr(cls, hook)]
    assert Remembers not in derived or Trains in derived


def test_settings_of_memories_and_selections_are_settings() -> None:
    for cls in classes().values():
        named = {*getattr(cls, "memory_settings", ()), *getattr(cls, "selection_settings", ())}
        assert named <= {each.name for each in fields(cls) if each.init}


def test_methods_that_may_train_sharded_models() -> None:
    schedules = {"constant", "rewarm_cosine", "inf_cosine", "inf_invsqrt", "wsd"}
    found = {name for name, cls in classes().items() if issubclass(cls, Trains) and cls.shardable}
    penalties = {"ewc", "mas", "si", "reglora", "o_lora", "n_lora"}
    assert found == {*schedules, *penalties, "lora", "moe_lora", "sft", "insertion", "rope_base", "self_distillation"}


PLAN = """
import sys
import strategies
from cl import registry
from cl.methods import strategy
for name in strategies.METHODS:
    registry.find("methods", name, "test")
for name in registry.names("strategies"):
    strategy.build(name)
print([module for module in ("torch", "peft", "transformers") if module in sys.modules])
"""


def test_planning_a_method_imports_no_torch() -> None:
    """Torch takes seconds to import, and planning does not need it."""
    root = Path(strategies.__file__).parents[1]
    variables = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", PLAN], cwd=root, env=variables, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_exactly_one_schedule_acts_everywhere_and_nothing_is_degenerate(path: Path) -> None:
    methods = [method for _, _, method in load(path)]
    for method in methods:
        assert not method.validate([other for other in methods if other is not method])
    for stage in stages(path):
        acting = [method for method in methods if method.phase == stage.phase]
        rates = [rate(acting, Progress(step, 1000, stage.t)) for step in range(1000)]
        assert min(rates) > 0
        assert max(rates) <= 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_streams_are_well_formed(path: Path) -> None:
    found = stages(path)
    if "untrained" in [name for name, _, _ in load(path)]:
        tasks = {settings.get("tasks", "all") for name, settings, _ in load(path) if name == "untrained"}
        assert len(found) == (1 if tasks == {"later"} else 0)
        return
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
