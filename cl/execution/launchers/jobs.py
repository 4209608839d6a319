"""Nodes grouped into jobs of a queue: which node is computed in which job, and which jobs wait for which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cl.graph.node import Node


@dataclass
class Job:
    """Nodes that one job computes in this order; after: places of the jobs that it waits for."""

    nodes: list[Node] = field(default_factory=list)
    after: set[int] = field(default_factory=set)

    @property
    def gpus(self) -> int:
        """That it asks for."""
        return max(node.gpus for node in self.nodes)

    @property
    def processes(self) -> int:
        """That compute its largest node together."""
        return max(node.processes for node in self.nodes)

    @property
    def name(self) -> str:
        """For people."""
        first = self.nodes[0]
        return ", ".join(dict.fromkeys(n.kind for n in self.nodes)) if first.how.light else f"{first.kind} {first.name}"


def jobs(todo: Sequence[Node]) -> list[Job]:
    """Nodes, parents first, as jobs: a heavy node is a job, a light one joins the last job that it stands on.

    Light nodes that stand on nothing share a job; so does one whose parents are all in it or in jobs before it.
    """
    found: list[Job] = []
    behind: list[set[int]] = []  # of each job, all that it waits for, directly or not
    place: dict[str, int] = {}
    for node in todo:
        before = {place[p.key] for p in (*node.parents.values(), *node.uses.values()) if p.key in place}
        home = max(before, default=_of_light_roots(found))
        if not node.how.light or home is None or not before - {home} <= behind[home]:
            home = len(found)
            found.append(Job(after=before))
            behind.append(before.union(*(behind[at] for at in before)))
        found[home].nodes.append(node)
        place[node.key] = home
    return found


def _of_light_roots(found: Sequence[Job]) -> int | None:
    """The job of light nodes that wait for nothing, if there is one."""
    return next((at for at, job in enumerate(found) if not job.after and job.nodes[0].how.light), None)
