"""Launchers compute nodes. Results do not depend on the launcher.

A launcher gets the missing nodes, parents first, and computes each node once its parents are stored. A node needs only
its parents in the store, so nodes are sent to workers and data are not (`cl.execution.transport`).
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
"""Name in an experiment -> "module:Class". A module is imported when its launcher is used."""


class Launcher(Protocol):
    """Computes nodes. The constructor takes the experiment, whose `cluster` holds the launcher's settings.

    Attributes:
        waits: whether `launch` returns only when all nodes are stored.
    """

    waits: bool

    def launch(self, todo: Sequence[Node], store: Store, listener: Listener, command: Sequence[str]) -> str | None:
        """Compute the nodes.

        Args:
            todo: the missing nodes, parents first.
            store: where the nodes are published.
            listener: is notified.
            command: arguments of `cl` that a launcher which does not wait runs after the last node.

        Returns:
            None if all nodes are stored; otherwise a message about the submitted work.

        Raises:
            UserError: for nodes that this launcher cannot compute. Errors of a node are passed on.
        """

    def jobs(self, todo: Sequence[Node]) -> list[Job]:
        """The jobs that `launch` would submit; none if it computes nodes one by one."""


def of(experiment: Experiment) -> Launcher:
    """Build the launcher that an experiment names. Raises UserError for an unknown name."""
    if experiment.launcher not in LAUNCHERS:
        raise UserError(registry.unknown("launcher", experiment.launcher, LAUNCHERS))
    found: Launcher = registry.imported(LAUNCHERS[experiment.launcher], "launcher")(experiment)
    return found


def execute(todo: Sequence[Node], store: Store, listener: Listener, experiment: Experiment) -> None:
    """Compute the nodes and return when all are stored.

    Raises:
        UserError: for a launcher that does not wait. Errors of a node are passed on.
    """
    if not todo:
        return
    launcher = of(experiment)
    if not launcher.waits:
        name = experiment.launcher
        raise UserError(f"launcher: {name} is for `cl run` and `cl compare` only; use local or ray here")
    launcher.launch(todo, store, listener, ())
