"""The objective that a stage minimises: a method's objective, otherwise token cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence

from cl.methods.checks import check_objectives
from cl.methods.method import Trains
from cl.methods.objective import Objective, TokenCrossEntropy


def objective_of(methods: Sequence[Trains]) -> Objective:
    """The objective of a stage with these methods.

    Raises:
        UserError: see `check_objectives`.
    """
    check_objectives(methods)
    return next((found for method in methods if (found := method.objective()) is not None), TokenCrossEntropy())
