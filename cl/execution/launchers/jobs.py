"""Group nodes into jobs of a queue, with the dependencies between jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cl.graph.node import Node


@dataclass
class Job:
    """A job.

    Args:
        nodes: nodes that the job computes, in order.
        after: indices of the jobs that must end before this job starts.
    """

    nodes: list[Node] = field(default_factory=list)
    after: set[int] = field(default_factory=set)

    @property
    def gpus(self) -> int:
        """Number of GPUs that the job requests on each machine."""
        return max(node.gpus for node in self.nodes)

    @property
    def processes(self) -> int:
        """Number of processes of the job's largest node on each machine."""
        return max(node.processes for node in self.nodes)

    @property
    def machines(self) -> int:
        """Number of machines that the job requests."""
        return max(node.machines for node in self.nodes)

    @property
    def name(self) -> str:
        """Name for display."""
        first = self.nodes[0]
        return ", ".join(dict.fromkeys(n.kind for n in self.nodes)) if first.how.light else f"{first.kind} {first.name}"


def jobs(todo: Sequence[Node]) -> list[Job]:
    """Group nodes into jobs.

    - A heavy node gets its own job.
    - A light node joins the last job among those of its parents, if this job waits for the jobs of all other parents.
      Otherwise it gets its own job.
    - Light nodes without parents in `todo` share a job.

    Args:
        todo: nodes, parents first.
    """
    found: list[Job] = []
    behind: list[set[int]] = []  # per job, all jobs that it waits for, directly or indirectly
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
    """Index of the job of light nodes without parents. None: there is none."""
    return next((at for at, job in enumerate(found) if not job.after and job.nodes[0].how.light), None)
