"""Submit nodes as Slurm jobs with submitit. Each job waits for the jobs of its nodes' parents; the last job reports.

The submitting process does not wait. A job that is preempted or runs out of time is queued again and resumes from its
newest checkpoint.

submitit hands a job over as a pickle in the folder `slurm` of the scratch folder, which the job reads and nothing else
does: whoever can write there can run code as the user, as with the job's script beside it.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cl import signals
from cl.config.experiment import Experiment
from cl.config.runtime import Cluster
from cl.errors import UserError
from cl.execution import transport
from cl.execution.launchers import worker
from cl.execution.launchers.jobs import Job, jobs
from cl.execution.listener import Listener
from cl.execution.store import Store
from cl.graph.node import Node

try:
    import submitit
except ImportError as error:
    raise UserError("launcher: submitit is not installed; install it with: pip install 'cl[slurm]'") from error

NOWHERE = "launcher: there is no Slurm here (srun, sbatch and squeue are not found); use local or ray"


class Slurm:
    """The launcher that submits jobs. It does not wait: the last job runs the command again, to report."""

    waits = False

    def __init__(self, experiment: Experiment) -> None:
        if experiment.fail_fast:
            raise UserError("fail_fast: a job that fails on Slurm ends those that wait for it alone; leave it out")
        self.name, self.cluster = experiment.name, experiment.cluster

    def launch(self, todo: Sequence[Node], store: Store, listener: Listener, command: Sequence[str]) -> str:
        """Submit the nodes as jobs, and a last job that runs the command with the local launcher."""
        report = [sys.executable, "-P", "-m", "cl.cli", *command, "--launcher=local"]
        ids, folder = submit(todo, store, self.cluster, self.name, report)
        return (
            f"submitted {len(ids)} jobs, {ids[0]} to {ids[-1]}; the last one reports. Where a job fails, its log says "
            f"why, and the same command submits the remaining nodes.\nlogs     {folder}"
        )

    def jobs(self, todo: Sequence[Node]) -> list[Job]:
        """The jobs that would be submitted."""
        return jobs(todo)


class Work(submitit.helpers.Checkpointable):
    """The work of a job. If Slurm stops the job, submitit queues it again.

    Args:
        sent: message from `cl.execution.transport.pack`.
        url: URL of the store.
        threads: number of threads.
    """

    def __init__(self, sent: dict[str, Any], url: str, threads: int) -> None:
        self.sent, self.url, self.threads = sent, url, threads

    def __call__(self) -> None:
        """Compute the job's nodes. Stopped by Slurm, save a checkpoint first; submitit then queues the job again.

        A job of several machines runs this on each; the first of them leads.
        """
        preempted = submitit.JobEnvironment._usr_sig()
        queue_again = signal.getsignal(preempted)
        try:
            with signals.handled(preempted, signal.SIGTERM):
                if place := int(os.environ.get("SLURM_PROCID", "0")):
                    worker.work_along(self.sent, self.url, self.threads, place)
                else:
                    worker.work(self.sent, self.url, self.threads, worker.Log())
        except signals.Interrupted as stop:
            if stop.number == preempted and callable(queue_again):
                queue_again(stop.number, None)
            sys.exit(128 + stop.number)


def submit(
    todo: Sequence[Node], store: Store, cluster: Cluster, name: str, report: list[str]
) -> tuple[list[str], Path]:
    """Submit the jobs that compute `todo`, and a last job that runs the command `report`.

    Args:
        todo: the missing nodes, parents first.
        store: the store.
        cluster: settings of the jobs.
        name: name of the experiment.
        report: command line of the last job.

    Returns:
        Ids of all jobs, and the folder of their scripts and logs.

    Raises:
        UserError: if jobs of the experiment are in the queue, if there is no Slurm, or if it refuses a setting.
    """
    folder = (store.scratch / "slurm").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / f"{name}.json"
    _check_queue(record)
    ids: list[str] = []
    try:
        for job in jobs(todo):
            cores, waits = cluster.cpus * job.processes, [ids[at] for at in sorted(job.after)]
            executor = _executor(folder, cluster, job.name, cores, job.gpus, waits, job.machines)
            ids.append(executor.submit(Work(transport.pack(job.nodes), worker.address(store), cores)).job_id)
            record.write_text(json.dumps(ids), encoding="utf-8")  # an error leaves no unknown job
        executor = _executor(folder, cluster, f"report {name}", cluster.cpus, 0, ids)
        ids.append(executor.submit(submitit.helpers.CommandFunction(report)).job_id)
    except submitit.core.utils.FailedJobError as error:
        raise UserError(f"launcher: sbatch refuses a job: {' '.join(str(error).split())[-300:]}") from error
    record.write_text(json.dumps(ids), encoding="utf-8")
    return ids, folder


def _check_queue(record: Path) -> None:
    """Raises UserError if jobs of this experiment are in the queue."""
    ids = json.loads(record.read_text(encoding="utf-8")) if record.exists() else []
    if not ids:
        return
    try:
        asked = subprocess.run(["squeue", "--noheader", "--format=%i", f"--jobs={','.join(ids)}"],
                               capture_output=True, text=True, check=False)  # fmt: skip
    except FileNotFoundError as error:
        raise UserError(NOWHERE) from error
    if asked.returncode and "Invalid job id" not in asked.stderr:  # finished jobs are unknown to Slurm
        raise UserError(f"launcher: squeue cannot list the queue: {asked.stderr.strip()[:300]}")
    if left := asked.stdout.split():
        raise UserError(f"launcher: jobs of this experiment are in the queue: {', '.join(left)}; wait, or scancel them")


def _executor(
    folder: Path, cluster: Cluster, title: str, cores: int, gpus: int, after: Sequence[str], machines: int = 1
) -> submitit.SlurmExecutor:
    """The submitit executor of one job."""
    own: dict[str, Any] = {"job_name": title, "time": cluster.minutes, "cpus_per_task": cores}
    if machines > 1:  # one task on each, and if one fails, Slurm ends the others
        own |= {"nodes": machines, "ntasks_per_node": 1, "srun_args": ["--kill-on-bad-exit=1"]}
    if gpus:
        own["gpus_per_node"] = gpus
    further = dict(cluster.slurm)
    flags = dict(further.pop("additional_parameters", {}))
    if after:
        own["dependency"] = f"afterok:{':'.join(after)}"
        flags.setdefault("kill-on-invalid-dep", "yes")  # otherwise a job waits forever for a failed one
    try:
        python = f"{shlex.quote(sys.executable)} -P"  # the user's folder `strategies` must not hide the package
        executor = submitit.SlurmExecutor(folder=folder / "%j", max_num_timeout=cluster.retries, python=python)
        executor.update_parameters(**{**own, **further, "additional_parameters": flags})
    except RuntimeError as error:
        raise UserError(NOWHERE) from error
    except ValueError as error:
        raise UserError(f"cluster.slurm: {' '.join(str(error).split())[:400]}") from error
    return executor
