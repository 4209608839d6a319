"""Nodes grouped into jobs: light nodes join the job that they stand on, heavy ones are jobs of their own."""

from __future__ import annotations

from cl.config.model import Model
from cl.execution.launchers.jobs import jobs
from cl.graph.node import Node
from cl.graph.specs import Local
from tests.support import nodes


def node(kind: str, name: str, *parents: Node) -> Node:
    return nodes.node(kind, name, {"name": name}, {f"state/{at}": parent for at, parent in enumerate(parents)})


def test_light_nodes_join_the_job_that_they_stand_on() -> None:
    tokenizer = node("tokenizer", "t")
    english, german, base = node("data", "en", tokenizer), node("data", "de", tokenizer), node("base", "b", tokenizer)
    first = node("train", "first", base, english)
    memory = node("consolidate", "memory", first, english)
    second = node("train", "second", first, german, memory)
    row = node("evaluate", "row", second, english, german)
    found = jobs([tokenizer, english, german, base, first, memory, second, row])
    assert [[n.name for n in job.nodes] for job in found] == [
        ["t", "en", "de", "b"],
        ["first", "memory"],
        ["second"],
        ["row"],
    ]
    assert [sorted(job.after) for job in found] == [[], [0], [0, 1], [0, 2]]


def test_a_light_node_of_two_chains_is_a_job_of_its_own() -> None:
    base = node("base", "b")
    left, right = node("train", "left", base), node("train", "right", base)
    merged = node("merge", "merged", left, right)
    found = jobs([base, left, right, merged])
    assert [job.after for job in found] == [set(), {0}, {0}, {1, 2}]


def test_what_is_stored_is_waited_for_by_nobody() -> None:
    base = node("base", "b")
    (job,) = jobs([node("train", "first", base)])
    assert job.after == set()


def test_a_job_is_named_for_people_and_asks_for_the_most_that_a_node_needs() -> None:
    local = Local("s", Model(name="m"), devices=2)
    base = node("base", "b")
    train = nodes.node("train", "first", {}, {"state": base}, local=local)
    memory = node("consolidate", "memory", train)
    light, heavy = jobs([base, train, memory])
    assert (light.name, light.gpus, light.processes) == ("base", 0, 1)
    assert (heavy.name, heavy.gpus, heavy.processes) == ("train first", 0, 2)
