"""The results of `cl tune`: Optuna's pictures and a table of trials, on one page."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna import visualization

from cl.config.experiment import Experiment
from cl.reporting.formatting import significant
from cl.reporting.html.page import embed, write_beside
from cl.reporting.html.style import FONT, INK
from cl.tuning.optuna_study import Done, counts

COMPLETE = optuna.trial.TrialState.COMPLETE


def figures(done: Done) -> dict[str, go.Figure]:
    """Optuna's pictures that this study has enough trials for, in the common fonts."""
    study, keys = done.study, done.plan.objectives
    finished = len(study.get_trials(deepcopy=False, states=(COMPLETE,)))
    made: dict[str, go.Figure] = {}
    if len(keys) > 1:
        made["front"] = visualization.plot_pareto_front(study, target_names=keys)
    else:
        made["history"] = visualization.plot_optimization_history(study, target_name=keys[0])
        if any(trial.intermediate_values for trial in study.get_trials(deepcopy=False)):
            made["inside trials"] = visualization.plot_intermediate_values(study)
    for place, key in enumerate(keys):
        asked: dict[str, Any] = {"target_name": key}
        if len(keys) > 1:
            asked["target"] = lambda trial, place=place: trial.values[place]
        if finished > 1:
            made[f"slice {key}"] = visualization.plot_slice(study, **asked)
        if finished > len(done.plan.space) > 1:
            made[f"importance {key}"] = _importance(done, place, asked)
    made["timeline"] = visualization.plot_timeline(study)
    for figure in made.values():
        figure.update_layout(template="plotly_white", font={"family": FONT, "color": INK, "size": 12}, height=380)
    return made


def _importance(done: Done, place: int, asked: Mapping[str, Any]) -> go.Figure:
    """Importance of each setting for reaching good values of an objective."""
    evaluator, own = optuna.importance.PedAnovaImportanceEvaluator(), dict(asked)
    if "target" in own:
        sign = 1 if done.plan.directions[place] == "minimize" else -1
        own["target"] = lambda trial: sign * trial.values[place]
    with warnings.catch_warnings():
        # The warning says that low targets count as good; the sign above makes that true.
        warnings.filterwarnings("ignore", "PedAnovaImportanceEvaluator computes", UserWarning)
        return visualization.plot_param_importances(done.study, evaluator=evaluator, **own)


def write(whole: Experiment, chosen: Mapping[str, Any], done: Sequence[Done], path: Path) -> None:
    """Write the self-contained page.

    Args:
        whole: the experiment.
        chosen: the content of `tuned.yaml`.
        done: the finished studies.
        path: file of the page.
    """
    write_beside(
        "tuning.html.j2",
        path,
        {"significant": significant},
        question=whole.question or whole.name,
        protocol=chosen["protocol"],
        about=chosen["about"],
        studies=[
            {
                "plan": each.plan,
                "chosen": each.chosen,
                "counts": counts(each),
                "trials": each.study.get_trials(deepcopy=False),
                "pictures": [embed(f"{i}/{name}", figure) for name, figure in figures(each).items()],
            }
            for i, each in enumerate(done)
        ],
    )
