"""The claims of SEFE (arXiv 2505.02486) that `sefe.py` checks, as pure functions of its result.

Each claim is judged on the differences of two strategies over the same seeds and orders: it holds if the 95 % interval
of the mean difference lies above 0, fails if the interval lies below 0, and is not decided otherwise. The pairs share
data and base model, so they are not quite independent, and the intervals are somewhat too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from intervals import Interval

from cl.metrics import continual
from cl.metrics.records import ExperimentResult, RunResult
from cl.metrics.result_matrix import as_matrix

EQUAL = 0.05  # difference of MFT that counts as "about equal": our bound; one answer of 64 in one of four tasks is .004


@dataclass(frozen=True)
class Arm:
    """One strategy over seeds and orders; all metrics on strict scores.

    Args:
        mft: mean score on each task right after it was learned.
        mfn: mean score on all tasks at the end.
        maa: mean over stages of the mean score on the tasks learned so far.
        bwt: mean change on earlier tasks, divided by T - 1.
        bwt_all: mean change on earlier tasks, divided by T.
        superficial: forgotten form.
        essential: forgotten content.
    """

    mft: Interval
    mfn: Interval
    maa: Interval
    bwt: Interval
    bwt_all: Interval
    superficial: Interval
    essential: Interval

    def __sub__(self, other: Arm) -> Arm:
        return Arm(*(getattr(self, field.name) - getattr(other, field.name) for field in fields(self)))


KEYS = {"mft": "mft", "mfn": "op_final", "maa": "op_mean", "bwt": "bwt/T-1", "bwt_all": "bwt/T"}


def arms(result: ExperimentResult, orders: Sequence[list[str]] | None = None) -> dict[str, Arm]:
    """The arms of the experiment by label, in its order.

    Args:
        result: the result of the experiment.
        orders: task orders to use; None for all.
    """
    runs = [run for run in result.runs if orders is None or run.order in orders]
    return {
        label: _arm([run for run in runs if run.strategy == label]) for label in dict.fromkeys(r.strategy for r in runs)
    }


def _arm(runs: Sequence[RunResult]) -> Arm:
    """The arm of the runs of one strategy."""
    found = [_figures(run) for run in runs]
    return Arm(*(Interval(tuple(figures[field.name] for figures in found)) for field in fields(Arm)))


def _figures(run: RunResult) -> dict[str, float]:
    """The metrics of one run by field of Arm."""
    strict, normalised = (
        as_matrix({t: {n: cell.scores[score] for n, cell in row.items()} for t, row in run.matrix.items()}, run.order)
        for score in ("strict", "normalised")
    )
    summary = continual.summary(strict)
    split = {metric.key: metric.value for metric in continual.forgetting_split(strict, normalised)}
    figures = {name: summary[key].value for name, key in KEYS.items()}
    return figures | {name: split[name] for name in ("superficial", "essential")}


def verdicts(found: dict[str, Arm]) -> list[tuple[str, str, str]]:
    """(claim, verdict, figures) for each claim."""
    styles = found["lora_styles"] - found["lora_merged"]
    reg, on_styles = found["reglora"] - found["lora_merged"], found["sefe"] - found["lora_styles"]
    both = found["sefe"] - found["lora_merged"]
    most = styles.maa - on_styles.maa
    return [
        ("answer styles raise MAA", _sign(styles.maa), f"MAA {styles.maa}"),
        ("they raise it more than RegLoRA does on top of them", _sign(most), f"{styles.maa} against {on_styles.maa}"),
        ("styles lower superficial forgetting", _sign(_minus(styles.superficial)), f"{styles.superficial}"),
        ("RegLoRA on styles raises MFN", _sign(on_styles.mfn), f"MFN {on_styles.mfn}"),
        ("RegLoRA on styles raises BWT", _sign(on_styles.bwt), f"BWT {on_styles.bwt}"),
        ("RegLoRA alone raises MFN", _sign(reg.mfn), f"MFN {reg.mfn}"),
        ("RegLoRA alone raises BWT", _sign(reg.bwt), f"BWT {reg.bwt}"),
        (f"RegLoRA leaves MFT within {EQUAL}", _near(on_styles.mft), f"MFT {on_styles.mft} on styles, {reg.mft} alone"),
        ("SEFE ends above merged LoRA", _sign(both.mfn), f"MFN {both.mfn}"),
    ]  # fmt: skip


def _minus(interval: Interval) -> Interval:
    """The interval of the negated values."""
    return Interval(tuple(-value for value in interval.values))


def _sign(difference: Interval) -> str:
    """Verdict of the claim that a difference is above 0."""
    if difference.mean - difference.half > 0:
        return "holds"
    return "fails" if difference.mean + difference.half < 0 else "not decided"


def _near(difference: Interval) -> str:
    """Verdict of the claim that a difference lies within EQUAL of 0."""
    low, high = difference.mean - difference.half, difference.mean + difference.half
    if low >= -EQUAL and high <= EQUAL:
        return "holds"
    return "fails" if high < -EQUAL or low > EQUAL else "not decided"
