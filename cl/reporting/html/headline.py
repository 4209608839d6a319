"""The outcome in one sentence, computed from the numbers."""

from __future__ import annotations

import math

from cl.metrics.records import ExperimentResult
from cl.metrics.run_metrics import forgetting, score
from cl.reporting.html.groups import Group, final_row, groups, is_scored, loss_at, mean

NOTHING = 0.005  # smaller differences print as 0.00


def headline(result: ExperimentResult) -> str:
    """Say how much the strategies that forget most and least forgot, and the cost on the last task.

    Example: "With rewarm, English loss rose by 3.07 nats/token; with replay by 0.09, at a cost of 0.13 on German."
    """
    contenders = [group for group in groups(result) if not group.reference]
    if is_scored(result) and contenders and len(contenders[0].order) > 1:
        return _scored(contenders)
    forgot = {group.label: mean([forgetting(run).value for run in group.runs]) for group in contenders}
    ranked = sorted((g for g in contenders if not math.isnan(forgot[g.label])), key=lambda g: forgot[g.label])
    if not ranked:
        return _without_forgetting(contenders)
    best, worst = ranked[0], ranked[-1]
    sentence = f"With {worst.label}, {_subject(ranked)} {_moved(forgot[worst.label])}"
    if best is worst:
        return f"{sentence}."
    if (forgot[best.label] > NOTHING) == (forgot[worst.label] > NOTHING) and forgot[best.label] > NOTHING:
        return f"{sentence}; with {best.label} by {forgot[best.label]:.2f}{_cost(best, worst)}."
    return f"{sentence}; with {best.label} it {_moved(forgot[best.label], '')}{_cost(best, worst)}."


def _scored(contenders: list[Group]) -> str:
    """The sentence for scores: how far the strict score of earlier tasks fell, and how much of that is form alone."""
    fall = {g.label: mean([score(run, "strict_fall").value for run in g.runs]) for g in contenders}
    ranked = sorted((g for g in contenders if not math.isnan(fall[g.label])), key=lambda g: fall[g.label])
    if not ranked:
        return _without_forgetting(contenders)
    best, worst = ranked[0], ranked[-1]
    if abs(fall[worst.label]) < NOTHING:
        return f"No strict score on earlier tasks fell, not even with {worst.label}."
    form = mean([score(run, "superficial").value for run in worst.runs])
    sentence = f"With {worst.label}, the strict score on earlier tasks fell by {fall[worst.label]:.2f}"
    sentence += f", {form:.2f} of it form alone"
    return f"{sentence}." if best is worst else f"{sentence}; with {best.label} by {fall[best.label]:.2f}."


def _without_forgetting(contenders: list[Group]) -> str:
    """The sentence for results in which forgetting is undefined."""
    if not contenders:
        return "Only the joint reference has been run: nothing to compare yet."
    group = contenders[0]
    task = group.order[-1]
    before, after = (loss_at(group, row, task) for row in (group.runs[0].known, final_row(group.runs[0])))
    if math.isnan(before) or math.isnan(after):
        return "Forgetting is undefined here: no run has the rows of R that it needs."
    return f"With {group.label}, {_name(task)} loss went from {before:.2f} to {after:.2f} nats/token."


def _subject(ranked: list[Group]) -> str:
    """The subject of the sentence: the loss on the one earlier task, or the mean loss on earlier tasks."""
    earlier = {group.order[:-1] for group in ranked}
    only = next(iter(earlier))
    return f"{_name(only[0])} loss" if len(earlier) == 1 and len(only) == 1 else "mean loss on earlier tasks"


def _moved(delta: float, unit: str = " nats/token") -> str:
    """The verb of the sentence: how the loss changed."""
    if abs(delta) < NOTHING:
        return "did not change"
    return f"{'rose' if delta > 0 else 'fell'} by {abs(delta):.2f}{unit}"


def _cost(best: Group, worst: Group) -> str:
    """Difference on the last task between the two strategies; empty if their orders end with different tasks."""
    task = best.order[-1]
    cost = loss_at(best, final_row(best.runs[0]), task) - loss_at(worst, final_row(worst.runs[0]), task)
    if worst.order[-1] != task or math.isnan(cost):
        return ""
    if abs(cost) < NOTHING:
        return f", at no cost on {_name(task)}"
    return f", at a cost of {cost:.2f} on {_name(task)}" if cost > 0 else f", and {_name(task)} ended {-cost:.2f} lower"


def _name(task: str) -> str:
    """A task's name with a capital letter."""
    return task[:1].upper() + task[1:]
