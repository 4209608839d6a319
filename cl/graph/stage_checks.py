"""Check a planned stage: its methods together, its sets, its devices, the length of its rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cl.errors import UserError
from cl.graph.shared_nodes import SharedNodes
from cl.graph.specs import row_length
from cl.methods.checks import (
    check_devices,
    check_objectives,
    check_optimizer,
    check_packing,
    check_trained,
    check_weights,
)
from cl.methods.contexts import Stage
from cl.methods.method import LEARN, Trains, overrides
from cl.methods.strategy import Part
from cl.registry import unknown


def check(shared: SharedNodes, label: str, stage: Stage, active: Sequence[Part]) -> None:
    """Check the methods of a stage.

    Args:
        shared: nodes and settings of the stage.
        label: name of the strategy.
        stage: the stage.
        active: methods that act inside the stage.

    Raises:
        UserError: for methods that cannot train a stage together, on its sets, with the optimizer, or on the devices.
    """
    schedules = [part.name for part in active if overrides(part.method, Trains.schedule)]
    if len(schedules) > 1:
        raise UserError(f"strategies.{label}: two schedules in stage {stage.t}: {schedules}; keep one")
    scenario = shared.scenario
    if stage.phase != LEARN and (wrong := [name for name in stage.tasks if name not in scenario.general]):
        raise UserError(unknown(f"{stage.phase}.of: general set of {scenario.name}", wrong[0], scenario.general))
    _check_objective(shared, label, stage, active)
    train = shared.experiment.train
    own = [part.name for part in active if isinstance(part.method, Trains) and part.method.adds_parameters]
    if train.embedding_lr is not None and own and not any(part.settings.get("embeddings") for part in active):
        raise UserError(f"train.embedding_lr: has no effect: {own[0]} trains no embeddings; leave it out")
    sharded = train.processes > 1 and train.distributed == "fsdp"
    check_optimizer([part.method for part in active if isinstance(part.method, Trains)], train.optimizer, sharded)
    if shared.weights is not None:
        methods = [part.method for part in active]
        try:
            check_weights(methods, shared.weights, train.optimizer, train.processes, sharded)
        except UserError as error:
            raise UserError(f"strategies.{label}: {error}") from error
    if train.packing:
        check_packing(part.method for part in active)
    if train.processes > 1:
        check_devices((part.method for part in active), sharded)


def check_lengths(shared: SharedNodes, label: str, sources: Iterable[str], sequence: int) -> None:
    """Check that a stage reads rows of the length with which the ledger counts their sources.

    Args:
        shared: nodes and settings of the run.
        label: name of the strategy.
        sources: names of the sets that the stage reads.
        sequence: tokens per row of the stage.

    Raises:
        UserError: if a source has rows of another length.
    """
    for name in sources:
        if (own := row_length(shared.packing, name)) != sequence:
            raise UserError(
                f"strategies.{label}: a stage with rows of {sequence} tokens reads {name}, whose rows have {own} "
                "(by_task.*.train.sequence); leave the strategy out, or give both one length"
            )


def _check_objective(shared: SharedNodes, label: str, stage: Stage, active: Sequence[Part]) -> None:
    """Raises UserError for several objectives, and for one that cannot learn from a set of the stage."""
    training = [(part.name, part.method) for part in active if isinstance(part.method, Trains)]
    check_objectives([method for _, method in training])
    check_trained([method for _, method in training])
    for name, method in training:
        objective = method.objective()
        for task in stage.tasks:
            kind = shared.scenario.task(task.rpartition(":")[2]).kind
            if objective is not None and kind not in objective.learns_from:
                where = f"{name}.of" if stage.phase != LEARN else f"strategies.{label}: {name}"
                wanted = " or ".join(objective.learns_from)
                raise UserError(f"{where}: {task} is a set of kind {kind}; name one of kind {wanted}")
