"""Check strategies and devices against the architecture of the model, while planning."""

from __future__ import annotations

from collections.abc import Iterable

from cl.config.experiment import Experiment
from cl.config.nested import flat
from cl.errors import UserError
from cl.methods.method import Trains
from cl.methods.retrieves import Retrieves
from cl.methods.strategy import Strategy
from cl.models.pretrained import Outline, check_installed

FRESH_CONTEXT = 512  # tokens that a fresh model reads at least: see `cl.models.pretrained.create`


def check_model(experiment: Experiment, strategies: Iterable[Strategy]) -> None:
    """Check that the model is installed, and that the methods and the devices suit its architecture.

    A hub model is not looked at: planning reads nothing from the network.

    Raises:
        UserError: if a package is missing, a method does not suit the model, or the model cannot be sharded.
    """
    check_installed(experiment.model)
    outline = Outline(experiment.model)
    if outline.origin == "hub":
        return
    if experiment.train.packing:
        _check_packing(outline)
    for chosen in strategies:
        _check_lengths(experiment, chosen, outline)
        for part in chosen.parts:
            try:
                if isinstance(part.method, Trains):
                    part.method.suits(outline)
                if isinstance(part.method, Retrieves):
                    _check_context(part.method.context, experiment.train.sequence, outline)
            except UserError as error:
                raise UserError(f"strategies.{chosen.label}: {part.name}: {error}") from error
    if experiment.train.processes > 1 and experiment.train.distributed == "fsdp" and experiment.train.boundaries:
        from cl.models import backbone

        if backbone.of(outline.model).isolation == "documents":
            family = outline.model.config.model_type
            reason = f"{family} reads the documents of a row in groups, not as many in each process"
            raise UserError(f"train.distributed: fsdp: {reason}; use ddp")


def _check_packing(outline: Outline) -> None:
    """Raises UserError for a model that reads each document of a row as a row of its own."""
    from cl.models import backbone

    if backbone.of(outline.model).isolation == "documents":
        family = outline.model.config.model_type
        raise UserError(f"train.packing: {family} reads each document as a row of its own; set it to false")


def _check_lengths(experiment: Experiment, chosen: Strategy, outline: Outline) -> None:
    """Raises UserError for a task whose rows are longer than the model reads, with what the strategy changes of it."""
    own = {task: flat(settings).get("train.sequence", 0) for task, settings in experiment.by_task.items()}
    if not any(own.values()) or outline.origin == "fresh":  # a fresh model is made for the longest rows
        return
    from cl.models import backbone

    limit = backbone.of(outline.model).context
    for part in chosen.parts:
        limit = part.method.longest_row(limit) if isinstance(part.method, Trains) else limit
    for task, length in own.items():
        if limit is not None and length > limit:
            raise UserError(
                f"by_task.{task}.train.sequence: {length} is more than the {limit} tokens that the model reads with "
                f"{chosen.label}; lower it, or set `context` of a method such as rope_base"
            )


def _check_context(context: int | None, sequence: int, outline: Outline) -> None:
    """Raises UserError for rows with stored examples that are too long for the model, or shorter than `sequence`."""
    if context is None:  # rows of `sequence` tokens, which the base node checks
        return
    if context < sequence:
        raise UserError(f"context: {context} is less than train.sequence, {sequence}; raise it, or leave it out")
    from cl.models import backbone

    limit = max(sequence, FRESH_CONTEXT) if outline.origin == "fresh" else backbone.of(outline.model).context
    if limit is not None and context > limit:
        raise UserError(f"context: {context} is more than the {limit} tokens that the model reads; lower it")
