"""Read an experiment's result from the store. The result does not depend on when its nodes were computed."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cl.config.experiment import notes
from cl.execution import accept, answers, machine
from cl.execution.store import Store
from cl.graph.node import Node
from cl.graph.planner import Graph, RunPlan, StagePlan
from cl.graph.specs import DataSpec
from cl.metrics.certificate import Certificate
from cl.metrics.records import Cell, DataResult, ExperimentResult, Inside, Point, RunResult, StageResult
from cl.probes import probe

PACKAGES = ("cl", "torch", "pytorch-lightning", "transformers", "peft", "tokenizers", "mlflow", "optuna")


def collect(graph: Graph, store: Store, executed: set[str], seconds: float, command: str) -> ExperimentResult:
    """Collect everything that reports and tracking use.

    Args:
        graph: the planned experiment; all its nodes are stored.
        store: the store.
        executed: keys of the nodes that this call computed.
        seconds: duration of this call.
        command: command line of this call.
    """
    experiment = graph.experiment
    stages = {stage.node.key for run in graph.runs for stage in run.stages}
    split, reader = experiment.evaluation.split, answers.Reader(store)
    runs = [run_result(run, store, executed) for run in graph.runs]
    return ExperimentResult(
        name=experiment.name,
        question=experiment.question,
        command=command,
        scenario=graph.scenario.name,
        scenario_version=graph.scenario.version,
        model=experiment.model.name,
        parameters=store.result(graph.base)["parameters"],
        tasks=list(graph.scenario.tasks),
        retain=list(graph.scenario.retain),
        general=[name for name in graph.scenario.measured if name not in graph.scenario.retain],
        data={name: _data(graph, name, store.result(node)) for name, node in graph.data.items()},
        runs=[answers.with_answers(run, graph.data, split, reader) for run in runs],
        asked=graph.asked,
        executed=len(stages & executed),
        seconds=seconds,
        environment=environment(graph),
        config=dataclasses.asdict(experiment),
        notes=[*notes(experiment), *accept.sentences(graph.nodes, store)],
        probes={name: list(probe.build(name, settings)[1].measures) for name, settings in experiment.probes.items()},
    )


def run_result(run: RunPlan, store: Store, executed: set[str]) -> RunResult:
    """Collect one run, which may have fewer nodes than its experiment plans.

    Args:
        run: the run.
        store: the store.
        executed: keys of the nodes that this call computed.
    """
    made = {name: store.result(node) for name, node in run.data.items() if transformed(node) and store.has(node)}
    return RunResult(
        strategy=run.strategy.label,
        summary=run.strategy.summary,
        settings=[{part.name: part.settings} for part in run.strategy.parts],
        seed=run.seed,
        order=run.order,
        known=run.known,
        key=run.key,
        stages=[_stage(run, stage, store, executed, made) for stage in run.stages],
        matrix={t: _row(node, store) for t, node in run.rows.items()},
        matrix_keys={t: node.key for t, node in run.rows.items()},
        independent=run.independent,
        merged=run.merged,
        made={name: {key: result[key] for key in ("styles", "transforms")} for name, result in made.items()},
        probes={
            label: {t: store.result(node)["measures"] for t, node in rows.items()} for label, rows in run.probes.items()
        },
        inside=[
            Inside(label, t, step, store.result(node)["measures"])
            for label, found in run.inside.items()
            for (t, step), node in found.items()
        ],
        gates={t: _certificate(node, store) for t, node in run.gates.items()},
        memory={
            t: {name: store.result(node)["memory"] for name, node in shown.items() if store.has(node)}
            for t, shown in run.memory.items()
        },
    )


def transformed(node: Node) -> bool:
    """Whether methods transform the examples of a data node."""
    return isinstance(node.spec, DataSpec) and bool(node.spec.transforms)


def content(node: Node) -> str:
    """Fingerprint of the documents of a data node."""
    assert isinstance(node.spec, DataSpec)
    return node.spec.content


def _stage(
    run: RunPlan, plan: StagePlan, store: Store, executed: set[str], made: Mapping[str, Mapping[str, Any]]
) -> StageResult:
    """Collect one stage."""
    result = store.result(plan.node)
    about_data = [text for task in plan.stage.tasks if task in made for text in made[task]["warnings"]]
    return StageResult(
        name=plan.stage.name,
        key=plan.node.key,
        row=plan.stage.row,
        offset=offset(run, plan, store),
        tokens=result["tokens"],
        seconds=result["seconds"],
        eval_seconds=result["eval_seconds"],
        reused=plan.node.key not in executed,
        points=[Point(**point) for point in result["points"]],
        seen=result["seen"],
        warnings=[*result["warnings"], *about_data],
    )


def offset(run: RunPlan, plan: StagePlan, store: Store) -> int:
    """Number of tokens of the stream before a stage: the tokens of the stage's ancestors, which must be stored.

    A stage that starts from the base model has no ancestor; if the run merges states, it follows the previous stage.
    """
    before, place = plan.parent, run.stages.index(plan)
    if before is None and run.merged and place > 0:
        before = run.stages[place - 1]
    return 0 if before is None else offset(run, before, store) + int(store.result(before.node)["tokens"])


def _certificate(node: Node, store: Store) -> Certificate:
    """What a gate decided."""
    result = store.result(node)
    return Certificate.of_json({each.name: result[each.name] for each in dataclasses.fields(Certificate)})


def _row(node: Node, store: Store) -> dict[str, Cell]:
    """A row of R by data set."""
    return {name: Cell(**cell) for name, cell in store.result(node)["cells"].items()}


def _data(graph: Graph, name: str, result: Mapping[str, Any]) -> DataResult:
    """Description of a data set."""
    sources = [part.source for part in graph.scenario.task(name).sources]
    report = result["report"]
    return DataResult(
        documents=report["documents"],
        bytes=report["bytes"],
        tokens=result["tokens"],
        sources=[source.about for source in sources],
        licence="; ".join(dict.fromkeys(source.licence for source in sources)),
        overlap=report["overlap"],
        duplicates=report["duplicates"],
        held_out=report["held_out"],
        fingerprint=content(graph.data[name]),
        example=result["example"],
    )


def environment(graph: Graph) -> dict[str, str]:
    """Versions, commit and machine, as text by name."""
    compute = graph.compute
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        **versions,
        "python": platform.python_version(),
        "commit": commit(),
        "processor": machine.processor(),
        "device": compute.device,
        "precision": compute.precision,
        "compile": str(compute.compile),
    }


def commit() -> str:
    """Git commit of the checkout that `cl` runs from, with `+changes` if it is not clean; or `not a checkout`."""
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return "not a checkout"
    call = ["git", "-C", str(folder)]
    try:
        head = subprocess.run([*call, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        status = subprocess.run([*call, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        return f"unknown ({error})"
    return head[:12] + ("+changes" if status.strip() else "")
