"""Probe nodes: one for each probe and row of R, on the state of that row, and nothing else is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl.errors import UserError
from cl.graph.measurement_specs import ProbeSpec
from cl.graph.roles import BASE, STATE, data
from cl.registry import Named
from tests.support.graph import RETAIN, planned
from tests.support.instruction import write_stream
from tests.support.nodes import evaluated, spec_of
from tests.support.training import plan, write_strategy

OWN = "tests.support.probes:FirstRow"
MOVED = "tests.support.probes:Moved"
PROBED = f"--probes={{'{OWN}': {{factor: 2.0}}}}"


def test_a_probe_is_a_node_for_each_row_on_the_state_of_that_row(toy: Path) -> None:
    graph = planned(PROBED)
    (run,) = graph.runs
    assert list(run.probes) == [OWN]
    assert list(run.probes[OWN]) == list(run.rows) == [0, 1, 2]
    for t, node in run.probes[OWN].items():
        spec = spec_of(node, ProbeSpec)
        assert (node.kind, node.parents[STATE].key) == ("probe", run.rows[t].parents[STATE].key)
        assert (spec.probe, spec.sets, spec.split) == (Named(OWN, {"factor": 2.0}), ("english", "german"), "test")
        assert node.code == (OWN,)
        assert node in graph.wanted


def test_a_probe_computes_nothing_else_again(toy: Path) -> None:
    plain, probed, other = planned(), planned(PROBED), planned(PROBED.replace("2.0", "3.0"))
    assert {node.key for node in plain.nodes} == {node.key for node in probed.nodes if node.kind != "probe"}
    assert plain.runs[0].key == probed.runs[0].key
    assert not {n.key for n in probed.nodes if n.kind == "probe"} & {n.key for n in other.nodes if n.kind == "probe"}


def test_a_probe_reads_tasks_of_the_stream_and_no_retain_set(toy: Path) -> None:
    Path("kept.txt").write_text("Kept apart.\n\nAnother.", encoding="utf-8")
    with Path("languages.yaml").open("a", encoding="utf-8") as file:
        file.write(RETAIN)
    (run,) = planned(PROBED).runs
    assert data("kept") in run.rows[0].parents
    assert {role for role in run.probes[OWN][0].parents if role.kind == "data"} == {data("english"), data("german")}


def test_a_probe_that_compares_has_the_base_as_a_parent(toy: Path) -> None:
    plain, compared = planned(PROBED).runs[0], planned(f"--probes={{'{MOVED}': }}").runs[0]
    base = plain.rows[0].parents[STATE]
    for t, node in compared.probes[MOVED].items():
        assert node.parents[BASE] is compared.rows[0].parents[STATE]
        assert node.parents[BASE].key == base.key
        assert BASE not in plain.probes[OWN][t].parents
    assert compared.probes[MOVED][0].parents[STATE] is compared.probes[MOVED][0].parents[BASE]


def test_a_probe_may_read_sets_outside_of_the_stream(toy: Path) -> None:
    """On validation data it does not, as rows of R do not: nothing outside may decide a value."""
    Path("kept.txt").write_text("Kept apart.\n\nAnother.", encoding="utf-8")
    with Path("languages.yaml").open("a", encoding="utf-8") as file:
        file.write(RETAIN)
    of_all, of_stream = (f"--probes={{'{name}': }}" for name in (MOVED, OWN))
    sets = [
        [spec_of(node, ProbeSpec).sets for rows in planned(*given).runs[0].probes.values() for node in rows.values()]
        for given in ([of_all], [of_stream], [of_all, "--evaluation.split=validation"])
    ]
    assert sets == [[("english", "german", "kept")] * 3, [("english", "german")] * 3, [("english", "german")] * 3]
    node = planned(of_all).runs[0].probes[MOVED][1]
    assert {str(role) for role in node.parents} == {
        "state", "base", "tokenizer", "data/english", "data/german", "data/kept"}  # fmt: skip


def test_what_a_probe_does_not_need_is_in_no_key_of_it(toy: Path) -> None:
    """The identity of a probe of the stream alone, apart from code and versions, is as before there were others."""
    node = planned(PROBED).runs[0].probes[OWN][0]
    assert list(node.identity["parents"]) == ["state", "tokenizer", "data/english", "data/german"]
    assert set(node.identity["spec"]) == {"probe", "sets", "batch", "packing", "compute", "split"}


def test_of_a_cut_stream_the_tasks_that_are_learned_are_probed(toy: Path) -> None:
    (run,) = planned(PROBED, "--upto=1", "--evaluation.split=validation").runs
    assert spec_of(run.probes[OWN][1], ProbeSpec).sets == ("english",)
    assert spec_of(run.probes[OWN][1], ProbeSpec).split == "validation"


def test_a_set_with_an_adapter_of_its_own_is_probed_with_it(tmp_path: Path) -> None:
    folder = write_stream(tmp_path, strategies={"apart": None}, probes={"linear": None})
    write_strategy(folder, "apart", ["rewarm_cosine", {"lora": {"life": "alone"}}])
    (run,) = plan(folder)[0].runs
    for t, node in run.probes["linear"].items():
        assert spec_of(node, ProbeSpec).select == evaluated(run.rows[t]).select
    assert spec_of(run.probes["linear"][2], ProbeSpec).select == {"copy": "t1", "which": "t2"}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("{linear: }", "probes.linear: has no effect: no task is of kind instruction; remove it"),
        ("{linaer: }", "probes.linaer: probes: 'linaer' is unknown; did you mean 'linear'?"),
        ("{linear: {item: 3}}", "probes.linear: setting of linear: 'item' is unknown; did you mean 'items'?"),
    ],
)
def test_a_probe_that_can_measure_nothing_is_told_before_anything_is_computed(
    toy: Path, setting: str, message: str
) -> None:
    with pytest.raises(UserError) as told:
        planned(f"--probes={setting}")
    assert str(told.value).startswith(message)
