"""Where nodes are executed: in this process, on a Ray cluster, or as Slurm jobs. Results are the same.

A launcher gets the nodes that the store lacks, parents first, and sees to it that each is computed once its parents are
stored. What a node needs is its parents in the store, so nothing but nodes travels (`cl.execution.transport`).
"""

from __future__ import annotations

from collections.abc import Sequence

from cl.config.experiment import Experiment
from cl.errors import UserError
from cl.execution import listener as listeners
from cl.execution import runner
from cl.execution.store import Store
from cl.graph.node import Node


def execute(todo: Sequence[Node], store: Store, listener: listeners.Listener, experiment: Experiment) -> None:
    """Execute nodes where the experiment says, and return when all are stored.

    Raises what a node raises, and UserError for Slurm, whose jobs nobody waits for: see `launchers.slurm.submit`.
    """
    if experiment.launcher == "slurm" and todo:
        raise UserError("launcher: slurm submits what `cl run` and `cl compare` lack; use local or ray here")
    if experiment.launcher == "ray" and todo:
        from cl.execution.launchers import ray

        ray.execute(todo, store, listener, experiment.cluster)
    else:
        runner.run(todo, store, listener)
