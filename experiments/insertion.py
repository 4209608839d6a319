"""Hubble's insertions (arXiv 2510.19811) at small scale: memory by the number of copies and the time of insertion.

    python experiments/insertion.py [--KEY=VALUE …]

Runs experiments/insertion.yaml (stored nodes are not trained again), then writes results/insertion/table.md: memory of
each cell after each task, as mean and 95 % t-interval over seeds, and a verdict per claim on differences over the same
seeds. A value is that of the stream with insertions minus that of its twin without, of the very same items, so that
items that are easy for any model do not count as remembered. A claim holds if the interval of its difference lies above
its bound, fails if it lies below, and is not decided otherwise. The paper's figures were not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import script
from intervals import Interval, above

from cl.commands import run as commands
from cl.config import loading
from cl.metrics.records import ExperimentResult, RunResult

HERE = Path(__file__).parent
NEAR = 0.02  # nats per byte that count as equal
Pair = tuple[RunResult, RunResult]
"""The run with insertions and its twin, of one seed."""


def pairs(result: ExperimentResult) -> list[Pair]:
    """The twins of each seed."""
    found = {(run.strategy, run.seed): run for run in result.runs}
    seeds = sorted({seed for _, seed in found})
    return [(found["inserted", seed], found["rewarm", seed]) for seed in seeds]


def difference(twins: Sequence[Pair], key: str, row: int, cells: Sequence[str]) -> Interval:
    """A measure of `memorisation` after a task, with insertions minus without, mean over cells; a value per seed."""

    def value(run: RunResult) -> float:
        return fmean(run.probes["memorisation"][row][cell][key] for cell in cells)

    return Interval(tuple(value(inserted) - value(plain) for inserted, plain in twins))


def cells(levels: Sequence[int], phases: Sequence[int]) -> list[str]:
    """Names of cells."""
    return [f"copies {level} phase {phase}" for level in levels for phase in phases]


def verdicts(twins: Sequence[Pair], levels: Sequence[int], phases: Sequence[int]) -> list[tuple[str, str, str]]:
    """(claim, verdict, figures) for each claim. The first half of the phases is in the first task."""
    few, some, many = levels
    early, last = phases[: len(phases) // 2], len(twins[0][0].order)

    def memory(level: int, which: Sequence[int], row: int = last) -> Interval:
        return difference(twins, "memory", row, cells([level], which))

    checked = [
        (f"{many} copies leave more memory than {some}", memory(many, phases) - memory(some, phases), 0.0),
        (f"{some} copies leave more memory than {few}", memory(some, phases) - memory(few, phases), 0.0),
        ("what was inserted in the first task is forgotten in the next",
         memory(many, early, 1) - memory(many, early), 0.0),
        ("late insertions stick: the last phase is remembered better than the first",
         memory(many, phases[-1:]) - memory(many, phases[:1]), 0.0),
        ("early insertions leave some memory until the end", memory(many, phases[:1]), 0.0),
    ]  # fmt: skip
    control = difference(twins, "log_likelihood", last, ["copies 0"])
    claim = "items that were never inserted are as likely with insertions as without"
    return [
        *((claim, above(gain, bound), f"{gain}, bound {bound:g}") for claim, gain, bound in checked),
        (claim, _equal(control), f"{control}, bounds -{NEAR:g} and {NEAR:g}"),
    ]


def _equal(gain: Interval) -> str:
    low, high = gain.ends
    return "holds" if low > -NEAR and high < NEAR else "fails" if low > NEAR or high < -NEAR else "not decided"


def table(twins: Sequence[Pair], key: str, row: int, levels: Sequence[int], phases: Sequence[int]) -> str:
    """A measure after a task by copies and phase, as a Markdown table."""
    after = twins[0][0].order[row - 1]
    lines = [
        f"| {key} after {after} | {' | '.join(f'phase {phase}' for phase in phases)} |",
        "|---" * (len(phases) + 1) + "|",
    ]
    for level in levels:
        values = (difference(twins, key, row, cells([level], [phase])) for phase in phases)
        lines.append(f"| {level} copies | {' | '.join(map(str, values))} |")
    return "\n".join(lines) + "\n"


def areas(twins: Sequence[Pair], levels: Sequence[int]) -> str:
    """Areas under the ROC curve of the membership tests along the stream, first stage of insertion."""
    lines = ["| members, test | before training | " + " | ".join(f"after {task}" for task in twins[0][0].order) + " |"]
    lines.append("|---" * (len(twins[0][0].order) + 2) + "|")
    for level in levels:
        for test in ("loss", "ratio", "min_k"):
            rows = ([inserted.probes["membership"][t][f"copies {level} stage 1"][test] for inserted, _ in twins]
                    for t in range(len(twins[0][0].order) + 1))  # fmt: skip
            lines.append(f"| {level} copies, {test} | " + " | ".join(str(Interval(tuple(row))) for row in rows) + " |")
    half = twins[0][0].probes["membership"][0][f"copies {levels[0]} stage 1"]["null"]
    return "\n".join(lines) + f"\n\nChance is 0.5 ± {half:.2f} in one run.\n"


def main(settings: list[str]) -> None:
    """Run the experiment, write and print the tables."""
    path = str(HERE / "insertion.yaml")
    commands.run(path, settings)
    chosen = loading.load(path, settings)
    folder = Path(chosen.output) / chosen.name
    twins = pairs(ExperimentResult.load(folder / "results.json"))
    probe = chosen.probes["memorisation"] or {}
    levels, phases = probe["levels"], range(1, probe["phases"] * len(probe["stages"]) + 1)
    rows = range(1, len(twins[0][0].order) + 1)
    parts = [table(twins, key, row, levels, phases) for key in ("memory", "recall") for row in rows]
    lines = [f"- {claim}: **{verdict}** ({figures})" for claim, verdict, figures in verdicts(twins, levels, phases)]
    text = "\n".join([*parts, areas(twins, levels), *lines]) + "\n"
    (folder / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    script.run(main)
