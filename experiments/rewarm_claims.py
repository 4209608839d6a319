"""The qualitative claims of arXiv 2403.08763 that `rewarm_replay.py` checks, as pure functions of its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from intervals import Interval

from cl.metrics.records import ExperimentResult, RunResult

FLAT = 0.05  # largest difference in nats/token of "nearly flat": our bound; the paper gives .01 at 405 M parameters


@dataclass(frozen=True)
class Arm:
    """One strategy over all seeds, in nats/token.

    Args:
        english: final English loss.
        german: final German loss.
        mean: mean of both.
        start: English loss at the start of the last stage, on the validation window.
        peak: highest English loss inside the last stage, on the validation window.
    """

    english: Interval
    german: Interval
    mean: Interval
    start: Interval
    peak: Interval


def arms(result: ExperimentResult) -> dict[str, Arm]:
    """The arms of the experiment by label, in its order."""
    labels = dict.fromkeys(run.strategy for run in result.runs)
    return {label: _arm([run for run in result.runs if run.strategy == label]) for label in labels}


def _arm(runs: Sequence[RunResult]) -> Arm:
    """The arm of the runs of one strategy."""
    last = [run.matrix[max(run.matrix)] for run in runs]
    english = tuple(row["english"].loss for row in last)
    german = tuple(row["german"].loss for row in last)
    curves = [[p.scores["english"] for p in run.stages[-1].points if "english" in p.scores] for run in runs]
    mean = tuple((e + g) / 2 for e, g in zip(english, german, strict=True))
    start = Interval(tuple(curve[0] for curve in curves))
    return Arm(Interval(english), Interval(german), Interval(mean), start, Interval(tuple(max(c) for c in curves)))


def verdicts(found: dict[str, Arm]) -> list[tuple[str, str, str]]:
    """(claim, `holds` or `fails`, figures) for each claim; a claim holds if it holds in every seed."""
    shares = ["replay_0", "replay_1", "replay_5", "replay_25", "replay_50"]
    english = list(zip(*(found[s].english.values for s in shares), strict=True))
    german = list(zip(*(found[s].german.values for s in shares), strict=True))
    falls = all(a > b for seed in english for a, b in pairwise(seed))
    flat = all(abs(seed[i] - seed[0]) <= FLAT for seed in german for i in (1, 2))
    rises = all(seed[4] > max(seed[:3]) for seed in german)
    return [
        ("old loss falls monotonically with the replay share", _say(falls), _row(found, shares, "english")),
        (f"new loss within {FLAT} of no replay up to 5 %", _say(flat), _row(found, shares[:3], "german")),
        ("new loss is higher at 50 % replay", _say(rises), _row(found, shares, "german")),
        _peaks(found),
        _low(found),
        _bump(found),
        _union(found),
    ]


def _peaks(found: dict[str, Arm]) -> tuple[str, str, str]:
    """The claim on higher peak rates."""
    order = ["half_peak", "replay_0", "double_peak"]
    forgets = all(a < b < c for a, b, c in zip(*(found[x].english.values for x in order), strict=True))
    adapts = all(a > b > c for a, b, c in zip(*(found[x].german.values for x in order), strict=True))
    figures = f"English {_row(found, order, 'english')}; German {_row(found, order, 'german')}"
    return "a higher peak rate forgets more and adapts more", _say(forgets and adapts), figures


def _low(found: dict[str, Arm]) -> tuple[str, str, str]:
    """The claim on a constant low rate."""
    low, others = found["constant_low"], [found[x] for x in ("half_peak", "replay_0", "double_peak")]
    least = all(v < min(o.english.values[i] for o in others) for i, v in enumerate(low.english.values))
    worst = all(v > max(o.german.values[i] for o in others) for i, v in enumerate(low.german.values))
    labels = ["constant_low", "replay_0"]
    figures = f"English {_row(found, labels, 'english')}; German {_row(found, labels, 'german')}"
    return "a constant low rate forgets least and adapts worst", _say(least and worst), figures


def _bump(found: dict[str, Arm]) -> tuple[str, str, str]:
    """The claim that re-warming alone raises the loss on the old data; bound: a rise of 0.02."""
    arm = found["rewarm_on_english"]
    rise = Interval(tuple(p - s for p, s in zip(arm.peak.values, arm.start.values, strict=True)))
    return "re-warming on the old data itself raises its loss at first", _say(min(rise.values) > 0.02), f"rise {rise}"


def _union(found: dict[str, Arm]) -> tuple[str, str, str]:
    """The claim that replay comes within 0.02 of the loss of training on the union of the data."""
    gaps = {
        x: Interval(tuple(a - b for a, b in zip(found[x].mean.values, found["union"].mean.values, strict=True)))
        for x in ("replay_5", "replay_25")
    }
    near = any(max(gap.values) <= 0.02 for gap in gaps.values())
    figures = ", ".join(f"{label} − union {gap}" for label, gap in gaps.items())
    return "5-25 % replay comes within 0.02 of the union's mean loss", _say(near), figures


def _say(holds: bool) -> str:
    """The verdict in a word."""
    return "holds" if holds else "fails"


def _row(found: dict[str, Arm], labels: Sequence[str], which: str) -> str:
    """A loss of several arms as text."""
    return ", ".join(f"{label} {getattr(found[label], which)}" for label in labels)
