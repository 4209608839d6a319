"""The launchers: where nodes are computed. Results are the same everywhere.

A launcher gets the missing nodes, parents first, and sees to it that each is computed once its parents are stored. A
node needs nothing but its parents in the store, so nodes travel and data do not (`cl.execution.transport`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cl import registry
from cl.config.experiment import Experiment
from cl.errors import UserError
from cl.execution.launchers.jobs import Job
from cl.execution.listener import Listener
from cl.execution.store import Store
from cl.graph.node import Node

LAUNCHERS = {
    "local": "cl.execution.launchers.local:Local",
    "ray": "cl.execution.launchers.ray:Ray",
    "slurm": "cl.execution.launchers.slurm:Slurm",
}
"""Name in an experiment -> "module:Class"; nothing is imported before it is used."""


class Launcher(Protocol):
    """Computes nodes somewhere. Built with the experiment, whose `cluster` holds its settings.

    Attributes:
        waits: whether `launch` returns only when all nodes are stored.
    """

    waits: bool

    def launch(self, todo: Sequence[Node], store: Store, listener: Listener, command: Sequence[str]) -> str | None:
        """Compute the nodes.

        Args:
            todo: the missing nodes, parents first.
            store: where the nodes are published.
            listener: is told of progress.
            command: arguments of `cl` with which a launcher that does not wait reports in the end.

        Returns:
            None where all nodes are stored; else a message about the work that goes on elsewhere.

        Raises:
            UserError: for nodes that cannot be computed there, and everything that a node raises.
        """

    def jobs(self, todo: Sequence[Node]) -> list[Job]:
        """The jobs that `launch` would submit; none where nodes are computed one by one."""


def of(experiment: Experiment) -> Launcher:
    """The launcher that an experiment names. Raises UserError for an unknown name."""
    if experiment.launcher not in LAUNCHERS:
        raise UserError(registry.unknown("launcher", experiment.launcher, LAUNCHERS))
    found: Launcher = registry.imported(LAUNCHERS[experiment.launcher], "launcher")(experiment)
    return found


def execute(todo: Sequence[Node], store: Store, listener: Listener, experiment: Experiment) -> None:
    """Compute the nodes and return when all are stored.

    Raises:
        UserError: for a launcher that does not wait, and everything that a node raises.
    """
    if not todo:
        return
    launcher = of(experiment)
    if not launcher.waits:
        name = experiment.launcher
        raise UserError(f"launcher: {name} submits what `cl run` and `cl compare` lack; use local or ray here")
    launcher.launch(todo, store, listener, ())
