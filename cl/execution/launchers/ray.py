"""Nodes on a Ray cluster: one task for each, started by Ray as soon as its parents are stored.

What comes back to this process is what a listener hears. A task whose worker dies is started again, and goes on from
the newest checkpoint where the scratch folder is shared or the machine is the same.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cl.config.experiment import Experiment
from cl.config.runtime import Cluster
from cl.errors import UserError
from cl.execution import listener as listeners
from cl.execution import transport
from cl.execution.launchers import worker
from cl.execution.launchers.jobs import Job
from cl.execution.store import Store
from cl.graph.node import Node

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no library reports home
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a task without GPUs leaves their variables alone
try:
    import ray
    from ray.exceptions import RayError, RayTaskError
    from ray.util.queue import Queue
except ImportError as error:
    raise UserError("launcher: ray is not installed; install it with: pip install 'cl[ray]'") from error

PATIENCE = 10  # seconds for a cluster to answer
LOOK = 0.2  # seconds between two looks at what workers say
OBJECTS = 100 * 2**20  # bytes of shared memory: nothing but messages passes through it


class Ray:
    """The launcher of a Ray cluster."""

    waits = True

    def __init__(self, experiment: Experiment) -> None:
        self.cluster = experiment.cluster

    def launch(self, todo: Sequence[Node], store: Store, listener: listeners.Listener, command: Sequence[str]) -> None:
        """Compute the nodes as tasks of the cluster: see `execute`."""
        execute(todo, store, listener, self.cluster)

    def jobs(self, todo: Sequence[Node]) -> list[Job]:
        """None: a task for each node."""
        return []


def execute(todo: Sequence[Node], store: Store, listener: listeners.Listener, cluster: Cluster) -> None:
    """Execute nodes, parents first in the list, and return when all are stored.

    Raises what a node raises, UserError for a worker that died too often and for a GPU that a cluster of this machine
    does not have.
    """
    with _connected(cluster):
        _check_room(todo, cluster)
        mail: Any = Queue(actor_options={"num_cpus": 0})
        tasks = _started(todo, worker.address(store), mail, cluster)
        try:
            _follow(tasks, mail, listener, cluster)
        finally:
            for task in tasks:  # those that are finished do not mind
                ray.cancel(task)
            mail.shutdown()


@contextlib.contextmanager
def _connected(cluster: Cluster) -> Iterator[None]:
    """A connection to the cluster that is named, or to one of this machine that ends with it."""
    if ray.is_initialized():  # the caller's own
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if cluster.address is None:
            workers = cluster.workers or max(1, (os.cpu_count() or 1) // cluster.cpus)
            cores = workers * cluster.cpus
            os.environ.setdefault("RAY_task_oom_retries", str(cluster.retries))  # by itself it would try for ever
            ray.init("local", num_cpus=cores, object_store_memory=OBJECTS, include_dashboard=False, **quiet)
        else:
            _knock(cluster.address)
            ray.init(cluster.address, **quiet)
    except (OSError, ValueError) as error:
        raise UserError(f"cluster.address: {cluster.address} cannot be reached: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raises OSError where nobody answers: Ray would try for ten minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()


def _check_room(todo: Sequence[Node], cluster: Cluster) -> None:
    """Refuse what a cluster that cannot grow will never have; a named one may start machines when asked."""
    if cluster.address is not None:
        return
    there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    for node in todo:
        for kind, wanted in (("GPU", node.gpus), ("CPU", node.processes * cluster.cpus)):
            if wanted > there.get(kind, 0):
                raise UserError(
                    f"{node.kind} {node.name}: needs {wanted} {kind}(s), this cluster has {there.get(kind, 0):.0f}; "
                    "name another by cluster.address, or change train.device, train.devices, cluster.cpus or "
                    "cluster.workers"
                )


@ray.remote
def _work(sent: Mapping[str, Any], url: str, threads: int, mail: Any, *parents: None) -> None:
    """Compute a node on a worker. parents: what Ray waits for."""
    worker.work(sent, url, threads, listeners.Teller(mail.put))


def _started(todo: Sequence[Node], url: str, mail: Any, cluster: Cluster) -> dict[Any, Node]:
    """A task for each node, which begins when those of its parents have ended well."""
    tasks: dict[str, Any] = {}
    for node in todo:
        before = dict.fromkeys(parent.key for parent in (*node.parents.values(), *node.uses.values()))
        options = {
            "name": f"{node.kind} {node.name}",
            "num_cpus": cluster.cpus * node.processes,
            "num_gpus": node.gpus,
            "max_retries": cluster.retries,
        }
        waits = [tasks[key] for key in before if key in tasks]
        tasks[node.key] = _work.options(**options).remote(
            transport.pack([node]), url, cluster.cpus * node.processes, mail, *waits
        )
    return {tasks[node.key]: node for node in todo}


def _follow(tasks: Mapping[Any, Node], mail: Any, listener: listeners.Listener, cluster: Cluster) -> None:
    """Pass on what workers say until all tasks have ended. Raises what the first one that fails raises."""
    waiting, nodes = dict(tasks), {node.key: node for node in tasks.values()}
    while waiting:
        ended, _ = ray.wait(list(waiting), timeout=LOOK)
        while not mail.empty():
            listeners.hear(mail.get(), nodes, listener)
        for task in ended:
            _check(task, waiting.pop(task), cluster)


def _check(task: Any, node: Node, cluster: Cluster) -> None:
    try:
        ray.get(task)
    except RayTaskError as error:
        cause = getattr(error, "cause", None)
        raise (cause if isinstance(cause, UserError) else error) from None
    except RayError as error:
        words = " ".join(str(error).split())[:300]
        raise UserError(
            f"{node.kind} {node.name}: its worker died {cluster.retries + 1} times: {words}; give it more memory, or "
            "raise cluster.retries"
        ) from error
