"""Check strategies and devices against the architecture of the model, while planning."""

from __future__ import annotations

from collections.abc import Iterable

from cl.config.experiment import Experiment
from cl.errors import UserError
from cl.methods.method import Trains
from cl.methods.strategy import Strategy
from cl.models.pretrained import Outline, check_installed


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
    for chosen in strategies:
        for part in chosen.parts:
            if isinstance(part.method, Trains):
                try:
                    part.method.suits(outline)
                except UserError as error:
                    raise UserError(f"strategies.{chosen.label}: {part.name}: {error}") from error
    if experiment.train.devices > 1 and experiment.train.distributed == "fsdp" and experiment.train.boundaries:
        from cl.models import backbone

        if backbone.of(outline.model).isolation == "documents":
            family = outline.model.config.model_type
            reason = f"{family} reads the documents of a row in groups, not as many in each process"
            raise UserError(f"train.distributed: fsdp: {reason}; use ddp")
