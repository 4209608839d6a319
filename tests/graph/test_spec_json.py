"""Specifications and their JSON form, which is what keys hold."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from cl.config.checkpoints import Checkpoints
from cl.config.evaluation import Evaluation
from cl.config.model import Model
from cl.config.train import Optimization
from cl.graph.kinds import KINDS
from cl.graph.measurement_specs import (
    AmortiseSpec,
    EmbedSpec,
    EvaluateSpec,
    GateSpec,
    ItemwiseSpec,
    ModulateSpec,
    ProbeSpec,
    PromoteSpec,
    RetrieveSpec,
)
from cl.graph.spec_json import from_json, to_json
from cl.graph.specs import (
    BaseSpec,
    Compute,
    ConsolidateSpec,
    CutSpec,
    DataSpec,
    Local,
    MergeSpec,
    Packing,
    SelectSpec,
    Spec,
    TeacherSpec,
    TokenizerSpec,
    TrainSpec,
)
from cl.methods.contexts import Teaching
from cl.probes.probe import History, Stretch
from cl.registry import Named
from cl.sample_order.specs import GridSpec, OrderSpec, TraceSpec
from cl.tasks.harness import HarnessSpec

ANSWERING: Any = (("###",), "vllm 1", (HarnessSpec("h", "task", "0.4", "1", 5, "hash"),))
HISTORY = History(3, (Stretch(1, 4, 128), Stretch(2, 5, None)))
LORA, PACKING, COMPUTE = (
    Named("lora", {"r": 4, "targets": ["q"]}),
    Packing(32, False),
    Compute("cuda", "bf16", True, "flash"),
)
TRAIN = TrainSpec(
    t=1, steps=8, first=0, last=7, shares={"a": 0.75, "replay:b": 0.25}, seed=0, train=Optimization(betas=(0.8, 0.9)),
    compute=COMPUTE, methods=(LORA,), known={"b": 100}, continues=True, optimizer="keep", weights="4bit",
)  # fmt: skip
STREAM: dict[str, Any] = {"stages": (TRAIN, TRAIN), "sets": ("a", "b"), "tokens": 64, "batch": 2}
ESTIMATOR: dict[str, Any] = {**STREAM, "references": 2, "stars": True, "stride": 3, "part": 1}
FULL: list[Spec] = [
    TokenizerSpec({"a": "hash"}, 300, {"name": "llama"}, ("new",)),
    CutSpec("a", LORA, 32, 4),
    DataSpec("a", "hash", (LORA, Named("shuffle", {})), "both", ""),
    BaseSpec({"name": "llama"}, 3, 32, "mean", "bf16"),
    TRAIN,
    ConsolidateSpec(2, 0, ("a",), LORA, PACKING, COMPUTE, "1"),
    MergeSpec(LORA, 2),
    SelectSpec("a", 0, LORA, PACKING, COMPUTE, "Be brief."),
    EmbedSpec("a", "train", 2, COMPUTE, 5, "hash"),
    RetrieveSpec("a", LORA, 64, 5, PACKING, 128, 3, "validation", "Be brief."),
    AmortiseSpec("a", 3, LORA, PACKING, COMPUTE),
    ModulateSpec("a", LORA, 64, 5, PACKING, COMPUTE, "validation"),
    TeacherSpec("a", 0, Teaching("previous", "cache_top_k", 5, 2.0), PACKING, COMPUTE, (3, 9)),
    EvaluateSpec(("a", "b"), 64, 2, 5, PACKING, COMPUTE, {"a": "t1"}, "validation", ("strict",), 4, 2, *ANSWERING),
    ProbeSpec(LORA, ("a",), 2, PACKING, COMPUTE, {"a": "t1"}, "validation", 3, HISTORY),
    ItemwiseSpec(("a", "b"), "strict", 64, 5, 2, PACKING, COMPUTE, "test", *ANSWERING[:2]),
    GateSpec(2, "b", ("a",), ("kept",), LORA),
    PromoteSpec(),
    TraceSpec(**STREAM, order=(1, 0), keep="all"),
    GridSpec(**ESTIMATOR, gigabytes=2.5),
    OrderSpec(
        **ESTIMATOR,
        ask="search",
        oracle="secant",
        readout="auto",
        ridge=0.1,
        seed=4,
        objective=("a",),
        orders=((0, 1), (1, 0)),
        truths=2,
        ceilings=True,
        method="genetic",
        trials=9,
        force=True,
        samples=(1,),
        design="random",
        draws=5,
        task_orders=((1, 0),),
    ),
]


def through_json(spec: Any) -> Any:
    return from_json(type(spec), json.loads(json.dumps(to_json(spec))))


def test_every_kind_of_node_has_an_example_here() -> None:
    assert {kind: of.specification() for kind, of in KINDS.items()} == {spec.kind: type(spec) for spec in FULL}


@pytest.mark.parametrize("spec", FULL, ids=lambda spec: spec.kind)
def test_a_specification_is_found_again_in_its_json(spec: Spec) -> None:
    assert through_json(spec) == spec
    for each in dataclasses.fields(spec):
        defaults = () if each.default is dataclasses.MISSING else (each.default,)
        assert getattr(spec, each.name) not in defaults, f"{each.name} has its default: another example is needed"


@pytest.mark.parametrize("spec", FULL, ids=lambda spec: spec.kind)
def test_fields_with_defaults_may_be_left_out(spec: Any) -> None:
    required = {
        each.name: getattr(spec, each.name)
        for each in dataclasses.fields(spec)
        if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
    }
    short = type(spec)(**required)
    assert through_json(short) == short


def test_what_a_node_needs_at_run_time_is_found_again_in_its_json() -> None:
    local = Local(
        "scenario.yaml",
        Model(name="llama-tiny", vocabulary=300, knows=["a"]),
        (LORA,),
        Evaluation(tokens=7, split="validation"),
        Checkpoints(steps=3),
        keep_optimizer=True,
        devices=2,
        distributed="fsdp",
    )
    assert through_json(local) == local
    plain = Local("scenario.yaml", Model(name="llama-tiny"))
    assert through_json(plain) == plain


@dataclass(frozen=True)
class Inner:
    size: int = 2
    note: str | None = None


@dataclass(frozen=True)
class Example:
    first: int
    nothing: str | None = None
    few: tuple[int, ...] = ()
    off: bool = False
    none: int = 0
    named: dict[str, int] = field(default_factory=dict)
    much: int = 5
    inner: Inner = field(default_factory=Inner)


def test_what_is_absent_by_default_is_left_out_while_it_is_absent() -> None:
    assert to_json(Example(0)) == {"first": 0, "much": 5, "inner": {"size": 2}}
    given = Example(0, "x", (1,), True, 3, {"a": 1}, 6, Inner(3, "y"))
    assert list(to_json(given)) == ["first", "nothing", "few", "off", "none", "named", "much", "inner"]
    assert to_json(given)["inner"] == {"size": 3, "note": "y"}


def test_a_default_that_is_not_absent_stays_and_so_does_its_absence() -> None:
    assert to_json(Example(0))["much"] == 5
    assert to_json(Example(0, much=0))["much"] == 0  # not left out: it would be read as 5
    assert from_json(Example, to_json(Example(0, much=0))).much == 0


@pytest.mark.parametrize(
    ("raw", "message"),
    [({"states": 2}, "missing .* 'method'"), ({"method": LORA, "states": 2, "size": 1}, "unexpected .* 'size'")],
)
def test_a_field_that_is_missing_or_unknown_is_an_error(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        from_json(MergeSpec, raw)
