"""The nodes beside a run's train nodes: memories and teachers."""

from __future__ import annotations

from pathlib import Path

from cl.graph.roles import MEMORY, STATE, Role
from tests.support.graph import planned
from tests.support.teaching import with_mode
from tests.support.training import plan, write_strategy, write_toy


def memories(settings: str) -> dict[str, list[str]]:
    """By stage, the states that what is remembered there was taken of, newest first."""
    found = {}
    for stage in planned(settings).runs[0].stages:
        node = next((parent for role, parent in stage.node.parents.items() if role.kind == "memory"), None)
        chain = []
        while node is not None:
            chain.append(node.parents[STATE].name)
            node = node.parents.get(MEMORY)
        found[stage.stage.name] = chain
    return found


def test_what_is_remembered_is_taken_of_the_stages_before(toy: Path) -> None:
    assert memories("--strategies={ewc: }") == {"english": [], "german": ["english"]}
    assert memories("--strategies={finetune: }") == {"english": [], "german": []}


def test_a_fork_remembers_what_its_trunk_does(toy: Path) -> None:
    (toy / "strategies").mkdir()
    (toy / "strategies" / "held.yaml").write_text("{summary: s, paper: p, keeps: k, methods: [inf_cosine, ewc]}")
    assert memories("--strategies={held: }") == {
        "english trunk": [],
        "english anneal": [],
        "german trunk": ["english trunk"],
        "german anneal": ["english trunk"],
    }


def test_joint_and_scratch_have_nothing_to_remember(toy: Path) -> None:
    (toy / "strategies").mkdir()
    for name, first in (("held_joint", "joint"), ("held_scratch", "scratch")):
        text = f"{{summary: s, paper: p, keeps: k, methods: [{first}, rewarm_cosine, ewc]}}"
        (toy / "strategies" / f"{name}.yaml").write_text(text)
        assert all(chain == [] for chain in memories(f"--strategies={{{name}: }}").values())


def test_a_stage_without_a_teacher_has_no_parent_for_it(tmp_path: Path) -> None:
    folder = with_mode(tmp_path, "frozen_copy", "adapter_off", methods=("lora",))
    graph, _ = plan(folder)
    roles = {run.strategy.label: set(run.stages[1].node.parents) for run in graph.runs}
    assert roles["frozen_copy"] - roles["adapter_off"] == {Role("teacher", 2)}
    graph, _ = plan(folder, "--strategy.self_distillation.weight=0")
    assert not any(role.kind == "teacher" for run in graph.runs for s in run.stages for role in s.node.parents)


def test_strategies_with_and_without_adapters_share_what_the_base_model_says(tmp_path: Path) -> None:
    write_toy(tmp_path, strategies={"plain": None, "adapted": None})
    taught = {"self_distillation": {"mode": "cache_hidden"}}
    write_strategy(tmp_path, "plain", ["rewarm_cosine", taught])
    write_strategy(tmp_path, "adapted", ["rewarm_cosine", "lora", taught])
    graph, _ = plan(tmp_path)
    assert len({node.key for node in graph.nodes if node.kind == "teacher"}) == 2  # one for each of two tasks


def test_trunk_and_fork_share_what_their_teacher_says(tmp_path: Path) -> None:
    write_toy(tmp_path, strategies={"forked": None})
    write_strategy(tmp_path, "forked", ["wsd", {"self_distillation": {"mode": "cache_hidden"}}])
    graph, _ = plan(tmp_path)
    assert len({node.key for node in graph.nodes if node.kind == "teacher"}) == 2
