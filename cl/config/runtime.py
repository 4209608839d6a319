"""Settings of the cluster and of tracking. No node key depends on these settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cl.errors import UserError


@dataclass(frozen=True)
class Cluster:
    """Resources of the launchers `ray` and `slurm`.

    Args:
        address: address of a running Ray cluster: `auto` or HOST:PORT; by default a cluster is started on this machine
            and ends with the command.
        workers: nodes executed at a time on a Ray cluster that is started here; by default the number of cores.
        cpus: cores and threads of each process of a node. On one kind of machine a result equals, bit for bit, the
            result of the local launcher with as many threads.
        retries: how often a node is computed again after its worker died, or its job was preempted or ran out of time.
        minutes: time limit of a Slurm job, in minutes.
        slurm: further options of Slurm under submitit's names: `partition`, `account`, `qos`, `mem`, `constraint`,
            `setup`, `additional_parameters` ...
    """

    address: str | None = None
    workers: int | None = None
    cpus: int = 1
    retries: int = 3
    minutes: int = 24 * 60
    slurm: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("cpus", 1), ("retries", 0), ("minutes", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"cluster.{name}: {value} must be at least {least}")
        if self.workers is not None and self.address is not None:
            raise UserError(f"cluster.workers: {self.workers} has no effect on a cluster with an address; remove it")


@dataclass(frozen=True)
class Tracking:
    """Where runs are logged.

    Args:
        uri: MLflow tracking URI; by default a SQLite file in the store; `none` switches tracking off.
    """

    uri: str | None = None
