"""Compute nodes in this process, one after another."""

from __future__ import annotations

from collections.abc import Sequence

from cl.config.experiment import Experiment
from cl.errors import UserError
from cl.execution import runner
from cl.execution.launchers.jobs import Job
from cl.execution.listener import Listener
from cl.execution.store import Store
from cl.graph.node import Node


class Local:
    """The launcher that computes nodes in this process."""

    waits = True

    def __init__(self, experiment: Experiment) -> None:
        self.fail_fast = experiment.fail_fast

    def launch(self, todo: Sequence[Node], store: Store, listener: Listener, command: Sequence[str]) -> None:
        """Compute the nodes in the given order. Raises UserError for nodes of several machines."""
        if several := [node for node in todo if node.machines > 1]:
            raise UserError(
                f"train.nodes: {several[0].machines} machines need launcher slurm or ray; with local use 1, and "
                "train.devices for the devices of this machine"
            )
        runner.run(todo, store, listener, self.fail_fast)

    def jobs(self, todo: Sequence[Node]) -> list[Job]:
        """No jobs."""
        return []
