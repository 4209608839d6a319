"""Preference in pairs (Hubble, arXiv 2510.19811): of two sentences that differ in a word, is the inserted one likelier?

    python experiments/pairs.py [--KEY=VALUE …]

Runs experiments/pairs.yaml (stored nodes are not trained again), and writes results/pairs/table.md: the share of pairs
whose inserted sentence is likelier, as mean and 95 % t-interval over seeds, and a verdict per claim.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import script
from intervals import Claim, Interval, above, listed

from cl.commands import run as commands
from cl.config import loading
from cl.metrics.records import ExperimentResult, RunResult
from cl.metrics.roc import NORMAL_95

HERE = Path(__file__).parent


def share(runs: Sequence[RunResult], level: int, row: int, key: str = "preferred") -> Interval:
    """A figure of the pairs with some copies after a task, a value per seed."""
    cell = "copies 0" if level == 0 else f"copies {level} phase 1"
    return Interval(tuple(run.probes["pair_preference"][row][cell][key] for run in runs))


def verdicts(inserted: Sequence[RunResult], plain: Sequence[RunResult], levels: Sequence[int]) -> list[Claim]:
    """Claim, verdict and figures for each claim."""
    few, some, many = levels
    last = len(inserted[0].order)
    half = 2 * share(inserted, many, 0, "null").mean / NORMAL_95 / math.sqrt(len(inserted))
    chance = [(runs, level, row)
              for runs, cells, rows in ((inserted, levels, [0]), (inserted, [0], [1, last]), (plain, levels, [1, last]))
              for level in cells for row in rows]  # fmt: skip
    off = [abs(share(runs, level, row).mean - 0.5) for runs, level, row in chance]
    beyond = sum(each > half for each in off)
    gains = [
        (f"after {many} copies the inserted sentence is preferred", share(inserted, many, 1, "gained")),
        (f"{many} copies are preferred more than {some}", share(inserted, many, 1) - share(inserted, some, 1)),
        (f"{some} copies are preferred more than {few}", share(inserted, some, 1) - share(inserted, few, 1)),
        ("the preference falls while another task is learned", share(inserted, many, 1) - share(inserted, many, last)),
        ("some of it is left at the end", share(inserted, many, last, "gained")),
    ]
    figures = f"{beyond} of {len(off)} beyond two standard errors, largest distance {max(off):.2f}"
    return [
        ("at chance before the insertion, without copies and in the control", "fails" if beyond else "holds", figures),
        *((claim, above(gain), str(gain)) for claim, gain in gains),
    ]


def table(runs: Sequence[RunResult], levels: Sequence[int]) -> str:
    """The shares by copies and row of R, as a Markdown table."""
    order = runs[0].order
    head = " | ".join(f"after {task}" for task in order)
    lines = [f"| {runs[0].strategy} | before | {head} |", "|---" * (len(order) + 2) + "|"]
    for level in (0, *levels):
        cells = " | ".join(str(share(runs, level, row)) for row in range(len(order) + 1))
        lines.append(f"| {level} copies | {cells} |")
    return "\n".join(lines) + "\n"


def main(settings: list[str]) -> None:
    """Run the experiment, write and print the tables and the verdicts."""
    path = str(HERE / "pairs.yaml")
    commands.run(path, settings)
    chosen = loading.load(path, settings)
    folder = Path(chosen.output) / chosen.name
    result = ExperimentResult.load(folder / "results.json")
    inserted, plain = ([run for run in result.runs if run.strategy == name] for name in ("inserted", "rewarm"))
    levels = (chosen.probes["pair_preference"] or {})["levels"]
    text = "\n".join([*(table(runs, levels) for runs in (inserted, plain)), listed(verdicts(inserted, plain, levels))])
    (folder / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    script.run(main)
