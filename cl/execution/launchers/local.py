"""Compute nodes in this process, one after another."""

from __future__ import annotations

from collections.abc import Sequence

from cl.config.experiment import Experiment
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
        """Compute the nodes in the given order."""
        runner.run(todo, store, listener, self.fail_fast)

    def jobs(self, todo: Sequence[Node]) -> list[Job]:
        """No jobs."""
        return []
