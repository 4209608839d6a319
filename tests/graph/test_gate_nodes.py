"""The plan of gates: what is compared, what a key holds, and which strategies cannot be gated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cl.errors import UserError
from cl.graph.measurement_specs import GateSpec, ItemwiseSpec
from cl.graph.node import Node
from cl.graph.roles import CANDIDATE, INCUMBENT, STATE, Role
from cl.graph.run_plan import RunPlan
from tests.support.graph import RETAIN, by_label, keys, of_pretrained, planned, write_pretrained
from tests.support.mixture import write_mixture
from tests.support.nodes import evaluated, spec_of
from tests.support.training import plan, write_strategy

SCHEDULE = "rewarm_cosine"
OWN, ENOUGH = "--strategies={own: }", "--evaluation={tokens: 1024, items: 20}"


def gated(toy: Path, *methods: Any, settings: tuple[str, ...] = ()) -> RunPlan:
    """A run of the toy under a strategy of these methods and a schedule."""
    write_strategy(toy, "own", [SCHEDULE, *methods])
    return planned(OWN, ENOUGH, *settings).runs[0]


def gates(run: RunPlan) -> list[GateSpec]:
    return [spec_of(gate, GateSpec) for gate in run.gates.values()]


def items(gate: Node) -> list[ItemwiseSpec]:
    return [spec_of(gate.parents[Role(role, name="items")], ItemwiseSpec) for role in ("candidate", "incumbent")]


def test_the_candidate_is_compared_with_what_was_promoted_last(toy: Path) -> None:
    run = gated(toy, "promotion")
    first, second = run.stages
    assert first.gate is not None
    assert second.gate is not None
    assert first.gate.parents[INCUMBENT] is run.rows[0].parents[STATE]  # the base model
    assert second.gate.parents[INCUMBENT] is first.promoted
    assert (first.gate.parents[CANDIDATE], second.gate.parents[CANDIDATE]) == (first.node, second.node)
    assert second.node.parents[STATE] is first.promoted
    assert [run.rows[t].parents[STATE] for t in (1, 2)] == [first.promoted, second.promoted]


def test_validation_data_decide_and_rows_of_r_stay_on_test_data(toy: Path) -> None:
    run = gated(toy, "promotion")
    assert {each.split for gate in run.gates.values() for each in items(gate)} == {"validation"}
    assert {evaluated(row).split for row in run.rows.values()} == {"test"}


def test_earlier_tasks_and_named_sets_are_retained(toy: Path) -> None:
    with Path("languages.yaml").open("a", encoding="utf-8") as file:
        file.write(RETAIN)
    Path("kept.txt").write_text(Path("english.txt").read_text(encoding="utf-8"), encoding="utf-8")
    run = gated(toy, {"promotion": {"retain": ["kept"]}})
    assert [(spec.t, spec.task, spec.earlier, spec.retained) for spec in gates(run)] == [
        (1, "english", (), ("kept",)),
        (2, "german", ("english",), ("kept",)),
    ]
    assert [each.sets for each in items(run.gates[2])] == [("german", "english", "kept")] * 2


def test_what_the_pretrained_model_knows_is_retained_whatever_is_taken(toy: Path) -> None:
    write_pretrained()
    write_strategy(toy, "own", [SCHEDULE, "promotion"])
    (run,) = of_pretrained(OWN, ENOUGH).runs
    assert [(spec.t, spec.earlier, spec.retained) for spec in gates(run)] == [(2, (), ("english",))]


def test_margins_are_in_the_key_of_the_gate_and_of_all_that_follows(toy: Path) -> None:
    one, other = (gated(toy, {"promotion": {"margin": margin}}) for margin in (0.01, 0.02))
    assert one.gates[1].key != other.gates[1].key
    assert one.stages[0].node.key == other.stages[0].node.key
    assert one.stages[1].node.key != other.stages[1].node.key
    assert [n.key for n in one.gates[1].parents.values()] == [n.key for n in other.gates[1].parents.values()]


def test_a_gate_is_in_no_key_before_it(toy: Path) -> None:
    runs = by_label(planned("--strategies={finetune: , finetune_gated: }", ENOUGH))
    assert keys(runs["finetune"])[0] == keys(runs["finetune_gated"])[0]
    assert keys(runs["finetune"])[1] != keys(runs["finetune_gated"])[1]
    assert {node.kind for node in runs["finetune"].wanted} == {"train", "evaluate"}
    later = gated(toy, {"promotion": {"tasks": "later"}})
    assert list(later.gates) == [2]
    assert keys(later) == keys(gated(toy))  # the last task may not be taken, but is trained as ever


def test_the_optimizer_state_is_stored_of_all_that_may_stand_for_a_stage(toy: Path) -> None:
    text = Path("languages.yaml").read_text(encoding="utf-8")
    french = '  french: {sources: [{source: files, path: english.txt, separator: "\\n\\n"}]}\n'
    Path("languages.yaml").write_text(text.replace("split:", french + "split:"), encoding="utf-8")
    kept = frozenset({"optimizer.safetensors"})
    run = gated(toy, {"optimizer_state": {"policy": "keep", "tasks": "later"}}, {"promotion": {"tasks": "later"}})
    assert [(stage.node.needs, stage.state.needs) for stage in run.stages] == [
        (kept, kept),
        (kept, kept),
        (set(), set()),
    ]


def test_a_source_that_no_gate_can_take_away_may_be_replayed(toy: Path) -> None:
    run = gated(toy, {"replay": {"share": 0.25}}, {"promotion": {"tasks": "later"}})
    assert run.stages[1].gate is not None


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (["promotion", "promotion"], "promotion and promotion both gate; keep one"),
        (["wsd", "promotion"], "needs one stage for each task, which starts from the one before; leave wsd or"),
        (["joint", SCHEDULE, "promotion"], "one stage for each task, which starts from the one before; leave joint or"),
        (["scratch", SCHEDULE, "promotion"], "for each task, which starts from the one before; leave scratch or"),
        ([SCHEDULE, {"lora": {"life": "alone"}}, "promotion"], "lora answers each task with an adapter of its own"),
        ([SCHEDULE, "ema", "promotion"], "promotion decides about the trained state and ema evaluates another; keep"),
        ([SCHEDULE, {"replay": {"share": 0.25}}, "promotion"],
         "stage 2 replays english, and promotion may not have taken the stage that learned it; leave one"),
        ([SCHEDULE, "ewc", "promotion"],
         "ewc remembers the first task, which may not be taken, and there is no memory before it; gate later tasks"),
        ([SCHEDULE, {"optimizer_state": {"policy": "keep"}}, "promotion"],
         r"promotion may roll the first task back to a model without an optimizer's state.* \(tasks: later\)"),
        ([SCHEDULE, {"promotion": {"retain": ["psalms"]}}], "retain: retain or general set: 'psalms' is unknown"),
        ([SCHEDULE, {"promotion": {"metric": "bleu"}}], "promotion: metric: 'bleu' is unknown"),
        ([SCHEDULE, {"promotion": {"metric": "strict"}}], "promotion: metric: english has no answers and so no strict"),
    ],
)  # fmt: skip
def test_what_cannot_be_gated_is_refused_while_planning(methods: list[Any], message: str, toy: Path) -> None:
    write_strategy(toy, "own", methods)
    with pytest.raises(UserError, match=f"strategies.own: .*{message}"):
        planned(OWN, ENOUGH)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("loss", r"evaluation.tokens: 639 are 19 rows of a set and an interval needs 20; raise it, or lower train.seq"),
        ("strict", r"evaluation.items: 19 answers are too few for an interval of strict; give 20 or more, or use"),
    ],
)
def test_too_few_items_are_refused_while_planning(metric: str, message: str, toy: Path) -> None:
    with pytest.raises(UserError, match=message):
        gated(toy, {"promotion": {"metric": metric}}, settings=("--evaluation={tokens: 639, items: 19}",))


def test_stored_predictions_on_a_set_whose_place_depends_on_a_gate_are_refused(tmp_path: Path) -> None:
    """Mixed-in rows go on where the last stage stopped, which is not known; without a cache that is no matter."""
    write_mixture(tmp_path, strategies={"own": None})
    mixed = {"knowledge_mixture": {"shares": {"chat": 0.25}}}
    taught = {"self_distillation": {"mode": "cache_hidden"}}
    write_strategy(tmp_path, "own", [SCHEDULE, mixed, "promotion"])
    graph, _ = plan(tmp_path, "--evaluation.tokens=2048")
    assert len(graph.runs[0].gates) == 2
    write_strategy(tmp_path, "own", [SCHEDULE, mixed, taught, "promotion"])
    with pytest.raises(UserError, match="stage 2 has stored predictions on plain:chat, and promotion may not"):
        plan(tmp_path, "--evaluation.tokens=2048")


def test_margins_are_those_of_all_tasks(toy: Path) -> None:
    write_strategy(toy, "own", [SCHEDULE, "promotion"])
    with pytest.raises(
        UserError, match=r"by_task\.german: promotion makes the stream, the data or the evaluated model"
    ):
        planned(OWN, ENOUGH, "--by_task={german: {strategy: {promotion: {margin: 1.0}}}}")
