"""Whether methods can train a stage together: on one objective, and on the devices of the experiment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cl.errors import UserError
from cl.methods.contexts import Stage
from cl.methods.edits_rows import EditsRows
from cl.methods.method import LEARN, Method, PlansStages, Remembers, TakesRows, Trains, overrides


def check_objectives(methods: Sequence[Trains]) -> None:
    """Check that the objectives of a stage's methods agree.

    Raises:
        UserError: if two methods name an objective, or one replaces the cross-entropy to which another adds terms.
    """
    found = [(type(method).__name__, objective) for method in methods if (objective := method.objective()) is not None]
    if len(found) > 1:
        names = " and ".join(name for name, _ in found)
        raise UserError(f"strategy: {names} each replace the loss, only one may; leave one of them out")
    adding = [type(method).__name__ for method in methods if overrides(method, Trains.token_terms)]
    if adding and found and found[0][1].name:
        raise UserError(
            f"strategy: {adding[0]} adds terms to the loss of tokens, which {found[0][0]} replaces; leave one out"
        )


def check_trained(methods: Sequence[Trains]) -> None:
    """Check that one method at most decides which parameters a stage trains.

    Raises:
        UserError: if two methods do.
    """
    found = [type(method).__name__ for method in methods if method.adds_parameters]
    if len(found) > 1:
        names = " and ".join(found)
        raise UserError(f"strategy: {names} each decide what is trained, only one may; leave one of them out")


def check_edits(methods: Sequence[Method], stages: Sequence[Stage]) -> None:
    """Check that the stages whose rows a method edits are there, and that what they learn is passed on.

    Raises:
        UserError: for two methods that edit rows, a stage that is absent or trained in parts, a later stage that does
            not start from it, and stored predictions of a teacher, which are of other rows.
    """
    editing = [method for method in methods if isinstance(method, EditsRows)]
    if len(editing) > 1:
        names = " and ".join(type(method).__name__ for method in editing)
        raise UserError(f"{names} each edit rows, only one may; leave one of them out")
    for method in editing:
        for t in method.edits():
            _check_edit(type(method).__name__, t, stages)
            teachings = [other.teaching(t) for other in methods if isinstance(other, PlansStages) and other.active(t)]
            if any(teaching is not None and teaching.cached for teaching in teachings):
                raise UserError(
                    f"{type(method).__name__} edits rows, and stored predictions of a teacher are of the rows before; "
                    "use mode frozen_copy or adapter_off"
                )


def _check_edit(name: str, t: int, stages: Sequence[Stage]) -> None:
    """Raises UserError unless stage t is trained as a whole, and later stages start from it."""
    found = [place for place, stage in enumerate(stages) if stage.t == t and stage.phase == LEARN]
    if not found:
        raise UserError(f"{name} edits stage {t}, which this strategy does not train; name another stage")
    if len(found) > 1 or (stages[found[0]].start, stages[found[0]].stop) != (0.0, 1.0):
        raise UserError(f"{name} edits stage {t}, which this strategy trains in parts; use another schedule")
    for stage in stages[found[0] + 1 :]:
        parent = stage.parent
        while parent is not None and parent != found[0]:
            parent = stages[parent].parent
        if parent is None:
            raise UserError(f"{name} edits stage {t}, from which stage {stage.t} does not go on; use another strategy")


def check_optimizer(methods: Sequence[Trains], optimizer: str, sharded: bool) -> None:
    """Check that an optimizer can train a stage with its methods.

    Args:
        methods: methods that act inside the stage.
        optimizer: name of the optimizer.
        sharded: the model is sharded over devices.

    Raises:
        UserError: for Muon with projected gradients, whose updates it turns again, or parameters of a method's own; for
            schedule-free with a method that follows the parameters from step to step, which are not those that it
            stores; for an optimizer of unsharded tensors with a sharded model.
    """
    for method in methods:
        name = type(method).__name__
        if optimizer == "muon" and (method.adds_parameters or overrides(method, Trains.after_backward)):
            reason = "trains parameters of its own" if method.adds_parameters else "changes gradients"
            raise UserError(f"train.optimizer: muon: {name} {reason}, and Muon rotates updates; use adamw")
        if optimizer == "schedule_free" and any(
            overrides(method, hook) for hook in (Trains.after_backward, Trains.after_step)
        ):
            reason = f"{name} follows the parameters from step to step, which are not those that are stored"
            raise UserError(f"train.optimizer: schedule_free: {reason}; use adamw")
    if sharded and optimizer not in ("adamw", "sgd"):
        raise UserError(f"train.optimizer: {optimizer} does not work with train.distributed: fsdp; use adamw or sgd")


WHOLE = (Trains.prepare, Trains.survey, Trains.step_terms, Trains.after_backward, Trains.after_step)
"""Hooks that read or change weights."""


def check_weights(methods: Sequence[Method], weights: str, optimizer: str, devices: int, sharded: bool) -> None:
    """Check that a stage can be trained with linear modules in a form (`cl.models.quantized`).

    Args:
        methods: methods that act inside the stage.
        weights: the form: bf16, 8bit or 4bit.
        optimizer: name of the optimizer.
        devices: number of processes.
        sharded: the model is sharded over them.

    Raises:
        UserError: for a sharded model; for trained weights, unless they are bf16 and no method, other optimizer or
            other process reads them.
    """
    if sharded:
        raise UserError(f"model.weights: {weights} does not work with train.distributed: fsdp; use fp32")
    if any(isinstance(method, Trains) and method.freezes_weights for method in methods):
        return
    if weights != "bf16":
        remedy = "use a strategy with adapters, bf16 or fp32"
        raise UserError(f"model.weights: {weights}: this stage trains the weights themselves; {remedy}")
    if optimizer != "adamw":
        raise UserError(f"model.weights: bf16: train.optimizer: {optimizer} loses small updates of bf16; use adamw")
    if devices > 1:
        raise UserError("model.weights: bf16: trained weights are rounded at random in each process; use 1 device")
    for method in methods:
        reads = isinstance(method, Trains) and any(overrides(method, hook) for hook in WHOLE)
        if reads or isinstance(method, Remembers):
            name = type(method).__name__
            raise UserError(f"model.weights: bf16: {name} needs fp32 where it reads trained weights; use fp32")


def check_packing(methods: Iterable[Method]) -> None:
    """Refuse methods that need one example per row.

    Raises:
        UserError: for a method that is not `packable`.
    """
    for method in methods:
        if isinstance(method, Trains) and not method.packable:
            name = type(method).__name__
            raise UserError(f"train.packing: {name} needs one example per row; set it to false, or use lora")


def check_devices(methods: Iterable[Method], sharded: bool) -> None:
    """Refuse methods that several devices cannot train together.

    Rows that a method takes are unevenly spread over processes, so a mean over processes would not be the mean over
    rows. All other terms are equal in all processes, or means over tokens weighed by their number.

    Raises:
        UserError: for a method that takes rows or replaces the loss, and if the model is sharded, for one that is not
            `shardable`.
    """
    for method in methods:
        name = type(method).__name__
        if isinstance(method, TakesRows):
            raise UserError(f"train.devices: {name} takes rows out of the loss, not as many in each process; use 1")
        own = method.objective() if isinstance(method, Trains) else None
        if own is not None and own.name:  # no test compares it with one process yet
            raise UserError(f"train.devices: {name} replaces the loss, not verified on several devices; use 1")
        if sharded and isinstance(method, Trains) and not method.shardable:
            raise UserError(f"train.distributed: {name} needs whole parameters; use ddp in place of fsdp")
