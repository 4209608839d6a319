"""Steps against their keys: they execute no definition that their key does not cover, and their results are pinned.

The pinned trajectories (loss and gradient norm of every step, losses of every row of R) are the test that the result
version of a kind was raised when it had to be: a release hashes the version in place of the code. Where a result moves,
raise the `version` of its kind in cl/graph/kinds.py, write why into CHANGELOG.md, and pin again:

    PIN=1 pytest tests/invariants/test_executed_code.py
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cl.execution import runner
from cl.execution.store import Store
from cl.graph.kinds import KINDS
from cl.graph.node import Node
from cl.sample_order import plan as orders
from tests.support import executed
from tests.support.inserted import INSERTION, write_inserted
from tests.support.instruction import write_stream
from tests.support.mixture import DPO, MIXTURE, SFT, aligned
from tests.support.order_command import toy as order_toy
from tests.support.probed import write_probed
from tests.support.reading import write_reading
from tests.support.teaching import with_mode
from tests.support.training import Silent, plan, write_strategy, write_toy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(r"ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable"),
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning"),
]
PINNED = Path(__file__).with_name("trajectories.json")
TOLERANCE = 2e-3
"""Relative: processors round differently (AVX2, AVX-512), which grows over steps; an edit that matters is larger."""
PINNED_KINDS = ("train", "evaluate", "probe")
UNPINNED = ("sample_order", "probes")  # the latter counts pairs, some of them nearly ties: their tests stand with them
JUMPING = ("memorisation", "membership")
"""Probes whose figures jump, with greedy tokens and ranks, where processors round differently."""


def text(folder: Path) -> Path:
    """Replay, penalties with a memory and with a state inside the stage, distillation, merging, a comparing probe."""
    strategies = {"rewarm_replay": None, "penalised": None, "merged": None}
    evaluation, probes = {"points": 2, "share": 0.9}, {"divergence": {"rows": 2}}
    write_toy(folder, strategies=strategies, checkpoints={"steps": 3}, evaluation=evaluation, probes=probes)
    write_strategy(folder, "penalised", ["rewarm_cosine", "ewc", "si", "lwf"])
    write_strategy(folder, "merged", ["rewarm_cosine", {"lora": {"life": "merge"}}, "ties"])
    return folder


def instructions(folder: Path) -> Path:
    """Answers, a classifier, a probe, adapters of each task."""
    strategies = {"lora_alone": None, "reglora": None, "seq_star": None}
    return write_stream(folder, strategies=strategies, probes={"linear": {"items": 6}})


def memories(folder: Path) -> Path:
    """Stored examples beside the base model and beside a trained one."""
    write_stream(folder, strategies={"retrieval_dense": None, "retrieval_pagerank": None, "beside": None})
    write_strategy(folder, "beside", ["rewarm_cosine", "lora", "bm25"])
    return folder


def alignment(folder: Path) -> Path:
    """A mixture, selection, instructions and preferences."""
    return aligned(folder, MIXTURE, SFT, DPO)


def teachers(folder: Path) -> Path:
    """Stored predictions, and a second model."""
    return with_mode(folder, "cache_top_k", "cache_hidden", "frozen_copy")


def probes(folder: Path) -> Path:
    """Probes of text and of answers, and prompts that are not the learned questions."""
    return write_probed(folder)


def inserted(folder: Path) -> Path:
    """Rows that take up copies, and the probes of what is memorised."""
    settings = {key: value for key, value in INSERTION.items() if key != "share"}
    return write_inserted(folder, probes={"memorisation": settings, "membership": settings})


def reading(folder: Path) -> Path:
    """Documents to read, whole and in parts, looked up and in a bank; questions without them."""
    bank = {"mac_lite": {"of": "meta", "steps": 3, "batch": 4, "inner": 16, "top_k": 2}}
    strategies = {"reading_salient": None, "reading_oracle": None, "mac_lite": bank}
    return write_reading(folder, meta=True, strategies=strategies, probes={"closed_book": {"items": 6}})


def sample_order(folder: Path) -> Path:
    """The toy stream of `cl order`."""
    return order_toy(folder)


def gated(folder: Path) -> Path:
    """A gate, behind a method with a memory."""
    write_toy(folder, strategies={"gated": None}, evaluation={"tokens": 1024, "points": 0})
    write_strategy(folder, "gated", ["rewarm_cosine", "ewc", {"promotion": {"tasks": "later"}}])
    return folder


LATER = {"tasks": "later"}


def cut(folder: Path) -> Path:
    """Text cut into pieces, and rows of one task's own length."""
    write_toy(folder, strategies={"cut": None}, tokens=4 * 32 * 12, by_task={"german": {"train": {"sequence": 16}}})
    write_strategy(folder, "cut", ["rewarm_cosine", "ewc", {"decomposition": {"shortest": 8}}, {"rope_base": LATER}])
    return folder


STREAMS: dict[str, Callable[[Path], Path]] = {
    "text": text,
    "instructions": instructions,
    "memories": memories,
    "alignment": alignment,
    "teachers": teachers,
    "probes": probes,
    "inserted": inserted,
    "reading": reading,
    "sample_order": sample_order,
    "gated": gated,
    "cut": cut,
}


class Computed:
    """A stream whose nodes were all computed under the tracer."""

    def __init__(self, name: str, folder: Path) -> None:
        STREAMS[name](folder)
        graph, self.store = plan(folder)
        wanted = graph.wanted
        if name == "sample_order":
            (ordering,) = orders.build(graph)
            wanted = [ordering.asked("validate", ordering.held_out(), ceilings=False)]
        self.nodes = runner.pending(wanted, self.store)
        executed.note(self.nodes)
        with (
            contextlib.chdir(folder),
            pytest.MonkeyPatch.context() as patch,
            executed.traced(patch) as self.outside,
        ):
            runner.run(self.nodes, self.store, Silent())


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Computed]:
    return {name: Computed(name, tmp_path_factory.mktemp(name)) for name in STREAMS}


@pytest.mark.parametrize("name", STREAMS)
def test_a_step_executes_nothing_that_its_key_does_not_cover(name: str, computed: dict[str, Computed]) -> None:
    assert {kind: found for kind, found in computed[name].outside.items() if found} == {}


def test_every_kind_was_reached(computed: dict[str, Computed]) -> None:
    reached = {kind for each in computed.values() for kind in each.outside}
    assert reached == set(KINDS)


def figures(node: Node, store: Store) -> Any:
    """The figures of a node that are pinned."""
    result = store.result(node)
    if node.kind == "train":
        return {name: [point[name] for point in result["points"]] for name in ("loss", "grad_norm")}
    if node.kind == "evaluate":
        return {name: cell["nll"] / cell["tokens"] for name, cell in result["cells"].items()}
    return result["measures"]


def trajectories(each: Computed) -> list[Any]:
    """The figures of all nodes of a stream, in the order of computation."""
    nodes = [node for node in each.nodes if node.kind in PINNED_KINDS and not node.name.startswith(JUMPING)]
    return [[node.kind, node.name, figures(node, each.store)] for node in nodes]


@pytest.mark.parametrize("name", [name for name in STREAMS if name not in UNPINNED])
def test_trajectories_are_as_pinned(name: str, computed: dict[str, Computed]) -> None:
    found = json.loads(json.dumps(trajectories(computed[name])))
    pinned = json.loads(PINNED.read_text(encoding="utf-8")) if PINNED.exists() else {}
    versions = {kind: KINDS[kind].version for kind in PINNED_KINDS}
    if os.environ.get("PIN"):
        pinned = {**pinned, "versions": versions, name: found}
        PINNED.write_text(json.dumps(pinned, indent=1) + "\n", encoding="utf-8")
    assert pinned["versions"] == versions, "a result version was raised: pin again"
    assert found == approximately(pinned[name]), "a result moved: raise the version of its kind, and pin again"


def approximately(value: Any) -> Any:
    """The value with all numbers approximate."""
    if isinstance(value, dict):
        return {key: approximately(each) for key, each in value.items()}
    if isinstance(value, list):
        return [approximately(each) for each in value]
    return pytest.approx(value, rel=TOLERANCE, abs=1e-6) if isinstance(value, float) else value
