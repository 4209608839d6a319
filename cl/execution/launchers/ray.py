"""Compute nodes on a Ray cluster: one task per node, started by Ray as soon as the node's parents are stored.

Workers send calls of a listener back to this process. A task whose worker dies is started again; it resumes from the
newest checkpoint if the scratch folder is shared or the machine is the same.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cl import signals
from cl.config.experiment import Experiment
from cl.config.runtime import Cluster
from cl.errors import IncompleteError, UserError
from cl.execution import listener as listeners
from cl.execution import transport
from cl.execution.launchers import worker
from cl.execution.launchers.jobs import Job
from cl.execution.store import Store
from cl.graph.node import Node, ancestors

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage statistics
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # keep CUDA_VISIBLE_DEVICES of tasks without GPUs
try:
    import ray
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayError, RayTaskError, WorkerCrashedError
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.queue import Queue
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
except ImportError as error:
    raise UserError("launcher: ray is not installed; install it with: pip install 'cl[ray]'") from error

DEATHS = (NodeDiedError, OutOfMemoryError, WorkerCrashedError)  # after which a node is computed again
PATIENCE = 10  # seconds for a cluster to answer
ENDING = 20  # seconds at most for tasks to save a checkpoint when the command ends
POLL = 0.2  # seconds between two polls of the workers' messages
OBJECTS = 100 * 2**20  # bytes of shared memory, which holds messages only


class Ray:
    """The launcher of a Ray cluster."""

    waits = True

    def __init__(self, experiment: Experiment) -> None:
        self.cluster, self.fail_fast = experiment.cluster, experiment.fail_fast

    def launch(self, todo: Sequence[Node], store: Store, listener: listeners.Listener, command: Sequence[str]) -> None:
        """Compute the nodes as tasks of the cluster: see `execute`. The command is not used."""
        execute(todo, store, listener, self.cluster, self.fail_fast)

    def jobs(self, todo: Sequence[Node]) -> list[Job]:
        """No jobs: each node is a task."""
        return []


def execute(
    todo: Sequence[Node], store: Store, listener: listeners.Listener, cluster: Cluster, fail_fast: bool = False
) -> None:
    """Execute nodes and return when all are stored.

    Args:
        todo: the missing nodes, parents first.
        store: the store.
        listener: is notified.
        cluster: settings of the cluster.
        fail_fast: end with the first node that fails.

    Raises:
        IncompleteError: if nodes failed.
        UserError: for a worker that died too often, and for GPUs or CPUs that a cluster of this machine does not have.
            Errors of a node are passed on.
    """
    with _connected(cluster):
        _check_resources(todo, cluster)
        mail: Any = Queue(actor_options={"num_cpus": 0})
        tasks = _started(todo, worker.address(store), mail, cluster)
        try:
            _follow(tasks, mail, listener, cluster, fail_fast)
        finally:
            for task in tasks:  # no effect on finished tasks
                ray.cancel(task)
            ray.wait(list(tasks), num_returns=len(tasks), timeout=ENDING)  # they save a checkpoint
            mail.shutdown()


@contextlib.contextmanager
def _connected(cluster: Cluster) -> Iterator[None]:
    """Context with a connection to the named cluster, or to a cluster of this machine that ends with the context."""
    if ray.is_initialized():  # by the caller
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if cluster.address is None:
            workers = cluster.workers or max(1, (os.cpu_count() or 1) // cluster.cpus)
            cores = workers * cluster.cpus
            os.environ.setdefault("RAY_task_oom_retries", str(cluster.retries))  # by default Ray retries forever
            ray.init("local", num_cpus=cores, object_store_memory=OBJECTS, include_dashboard=False, **quiet)
        else:
            _knock(cluster.address)
            ray.init(cluster.address, **quiet)
    except (OSError, ValueError) as error:
        raise UserError(f"cluster.address: {cluster.address} cannot be reached: {error}") from error
    signals.take_over()  # Ray ends the process on SIGTERM
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raises OSError if the address does not answer; Ray itself would try for ten minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()


def _check_resources(todo: Sequence[Node], cluster: Cluster) -> None:
    """Raises UserError for nodes that need more than a cluster of this machine has. A named cluster may grow."""
    if cluster.address is not None:
        return
    if several := [node for node in todo if node.machines > 1]:
        raise UserError(
            f"train.nodes: {several[0].machines} machines, and the cluster that is started here has one; name another "
            "by cluster.address"
        )
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
    """Compute a node on a worker. parents: results of the parents' tasks, so that Ray waits for them."""
    try:
        with signals.handled():
            worker.work(sent, url, threads, listeners.Teller(mail.put))
    except signals.Interrupted:
        raise KeyboardInterrupt from None  # Ray's word for a task that was cancelled


@ray.remote
def _work_along(sent: Mapping[str, Any], url: str, threads: int, place: int) -> None:
    """Take part in a node on another machine than the one of its worker."""
    with signals.handled():
        worker.work_along(sent, url, threads, place)


@ray.remote(num_cpus=0)
def _work_together(
    sent: Mapping[str, Any], url: str, threads: int, mail: Any, machines: int, each: dict[str, float], *parents: None
) -> None:
    """Compute a node on several machines, reserved together: a placement group with one bundle on each.

    Args:
        sent: message with the node.
        url: URL of the store.
        threads: number of threads on each machine.
        mail: queue of messages.
        machines: number of machines.
        each: what is reserved on each.
        parents: results of the parents' tasks, so that Ray waits for them before it reserves.
    """
    group = placement_group([each] * machines, strategy="STRICT_SPREAD")
    ray.get(group.ready())

    def on(place: int) -> dict[str, Any]:
        where = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=place)
        return {"num_cpus": each["CPU"], "num_gpus": each.get("GPU", 0), "scheduling_strategy": where, "max_retries": 0}

    others = [_work_along.options(**on(place)).remote(sent, url, threads, place) for place in range(1, machines)]
    leader = _work.options(**on(0)).remote(sent, url, threads, mail)
    try:
        ray.get(leader)
    finally:
        for task in (leader, *others):
            ray.cancel(task)
        ray.wait([leader, *others], num_returns=machines, timeout=ENDING)  # they save a checkpoint
        remove_placement_group(group)


def _started(todo: Sequence[Node], url: str, mail: Any, cluster: Cluster) -> dict[Any, Node]:
    """Start a task for each node; it begins when the tasks of its parents have succeeded."""
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
        sent = transport.pack([node]), url, cluster.cpus * node.processes, mail
        if node.machines == 1:
            tasks[node.key] = _work.options(**options).remote(*sent, *waits)
        else:
            each = {"CPU": options["num_cpus"]} | ({"GPU": node.gpus} if node.gpus else {})
            own = {"name": options["name"], "max_retries": cluster.retries, "retry_exceptions": list(DEATHS)}
            tasks[node.key] = _work_together.options(**own).remote(*sent, node.machines, each, *waits)
    return {tasks[node.key]: node for node in todo}


def _follow(
    tasks: Mapping[Any, Node], mail: Any, listener: listeners.Listener, cluster: Cluster, fail_fast: bool
) -> None:
    """Pass the workers' messages on until all tasks have ended. Raises the error of the first task that fails.

    Raises IncompleteError if nodes failed, at the end or at once; Ray ends the tasks that stand on them.
    """
    waiting = dict(tasks)
    nodes = {node.key: node for node in ancestors(tasks.values())}  # a worker may compute a damaged parent again
    failures: dict[str, tuple[str, str]] = {}
    while waiting:
        ended, _ = ray.wait(list(waiting), timeout=POLL)
        while not mail.empty():
            listeners.hear(mail.get(), nodes, listener)
        for task in ended:
            try:
                _check(task, waiting.pop(task), cluster)
            except IncompleteError as error:  # of this node, or of one that it stands on
                failures |= error.failures
                if fail_fast:
                    raise
    if failures:
        raise IncompleteError(failures)


def _check(task: Any, node: Node, cluster: Cluster) -> None:
    """Raises the error of a task that has failed."""
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
