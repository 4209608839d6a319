"""Learning examples against looking them up (arXiv 2502.14802), and what is still generated of each task (2510.18554).

    python experiments/retrieval.py [--KEY=VALUE …]

Runs experiments/retrieval.yaml (stored nodes are not computed again), then writes results/retrieval/table.md: scores of
each strategy, the first task's score while other tasks join the memory or are learned, the share of samples from the
bare chat template that come from each task, and a verdict per claim. The run has one seed, so claims are tested on
questions, and hold for this model and stream alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import script
from intervals import Claim, listed
from scipy import stats

from cl.commands import run as commands
from cl.config import loading
from cl.metrics.records import ExperimentResult, RunResult

HERE = Path(__file__).parent
TRAINED, PLACEBO, ASKED = "lora_sequential", "retrieval_random", "retrieval_bm25"
ALPHA = 0.05
Answers = Sequence[bool]
"""Whether each question is answered right."""


def answers(run: RunResult, row: int, sets: Sequence[str]) -> list[bool]:
    """Whether each question of some sets is answered right in a row of R, strictly."""
    return [mark == "1" for name in sets for mark in run.answers[row][name]["strict"]]


def better(one: Answers, other: Answers) -> tuple[str, str]:
    """Verdict and figures on whether the first answers more of the same questions: exact sign test, two-sided."""
    wins = sum(a and not b for a, b in zip(one, other, strict=True))
    losses = sum(b and not a for a, b in zip(one, other, strict=True))
    p = float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    verdict = "not decided" if p >= ALPHA else "holds" if wins > losses else "fails"
    return verdict, f"{_share(one):.2f} against {_share(other):.2f}, {wins} won and {losses} lost, p = {p:.2g}"


def _share(right: Answers) -> float:
    return sum(right) / len(right)


def of_scores(runs: Mapping[str, RunResult]) -> list[Claim]:
    """Claims on the answers after the last task, on all questions of the stream."""
    order = runs[TRAINED].order
    end = {name: answers(run, len(order), order) for name, run in runs.items()}
    before = answers(runs[TRAINED], 0, order)
    named = [
        ("retrieval by words beats the model without examples", end[ASKED], before),
        ("retrieval by words beats examples drawn at random", end[ASKED], end[PLACEBO]),
        ("retrieval by words beats learning the tasks in sequence", end[ASKED], end[TRAINED]),
        ("retrieval by words beats the newest examples", end[ASKED], end["retrieval_in_context"]),
        ("retrieval by vectors beats retrieval by words", end["retrieval_dense"], end[ASKED]),
    ]
    return [(claim, *better(one, other)) for claim, one, other in named]


def of_interference(runs: Mapping[str, RunResult]) -> list[Claim]:
    """Claims on the first task's questions while the memory grows, and while the model learns other tasks."""
    first, last = runs[TRAINED].order[0], len(runs[TRAINED].order)

    def column(name: str) -> list[list[bool]]:
        return [answers(runs[name], row, [first]) for row in range(1, last + 1)]

    growing, frozen, trained = (column(name) for name in (ASKED, "bm25_frozen", TRAINED))
    kept = "holds" if all(row == frozen[0] for row in frozen) else "fails"
    return [
        (f"{first} is lost while other tasks join the memory", *better(growing[0], growing[-1])),
        (f"{first} is lost while other tasks are learned", *better(trained[0], trained[-1])),
        (
            f"{first} is kept by a memory that does not grow",
            kept,
            f"{_share(frozen[0]):.2f} to {_share(frozen[-1]):.2f}",
        ),
    ]


def of_extraction(run: RunResult, samples: int) -> list[Claim]:
    """Claims on the share of samples that are attributed to training items, minus that of held-out items.

    Two standard errors of a share of so many samples decide, at the largest variance that the two shares allow.
    """
    measured = run.probes["template_extraction"]
    first, last = run.order[0], len(run.order)

    def extracted(row: int, task: str) -> float:
        return measured[row][task]["extracted"]

    base = max(measured[0][task]["train"] for task in run.order)
    gained = {task: extracted(row, task) - extracted(0, task) for row, task in enumerate(run.order, start=1)}
    task = max(gained, key=lambda name: gained[name])
    shares = [measured[row][task] for row in (0, run.order.index(task) + 1)]
    half = 2 * math.sqrt(sum(each["train"] + each["held_out"] for each in shares) / samples)
    lost = extracted(1, first) - extracted(last, first)
    width = 2 * math.sqrt(2 * measured[1][first]["train"] / samples)
    own = "after a task more of its training items are written than of held-out ones"
    return [
        ("the model before training writes nothing of the tasks", "fails" if base else "holds", f"{base:.2f} at most"),
        (own, _beyond(gained[task], half), f"at most {gained[task]:+.2f} ({task}), 2 SE {half:.2f}"),
        (f"less is written of {first} once others are learned", _beyond(lost, width), f"{lost:+.2f}, 2 SE {width:.2f}"),
    ]


def _beyond(gain: float, half: float) -> str:
    return "holds" if gain > half else "fails" if gain < -half else "not decided"


def scores(runs: Mapping[str, RunResult]) -> str:
    """Strict scores by row of R and what is read before an answer, as a Markdown table."""
    order = next(iter(runs.values())).order
    columns = [f"{name} after {order[row - 1]}" for row in range(1, len(order) + 1) for name in order[:row]]
    lines = [f"| strategy | {' | '.join(columns)} | tokens read | own task |", "|---" * (len(columns) + 3) + "|"]
    for name, run in runs.items():
        cells = [
            f"{run.matrix[row][task].scores['strict']:.2f}" for row in range(1, len(order) + 1) for task in order[:row]
        ]
        memory = list(run.memory.get(len(order), {}).values())
        read = [f"{sum(each[key] for each in memory) / len(memory):.{digits}f}" if memory else "–"
                for key, digits in (("read", 0), ("own_task", 2))]  # fmt: skip
        lines.append(f"| {name} | {' | '.join([*cells, *read])} |")
    before = [f"{next(iter(runs.values())).matrix[0][task].scores['strict']:.2f} ({task})" for task in order]
    return "\n".join([*lines, "", f"Before, without examples: {', '.join(before)}.", ""])


def extraction(run: RunResult) -> str:
    """Shares of samples by task and row of R, training items / held-out items, as a Markdown table."""
    rows = ["before", *(f"after {task}" for task in run.order)]
    lines = [f"| samples of | {' | '.join(rows)} |", "|---" * (len(rows) + 1) + "|"]
    for task in run.order:
        measured = (run.probes["template_extraction"][row][task] for row in range(len(rows)))
        cells = " | ".join("{train:.2f} / {held_out:.2f}".format_map(each) for each in measured)
        lines.append(f"| {task} | {cells} |")
    return "\n".join(lines) + "\n"


def main(settings: list[str]) -> None:
    """Run the experiment, write and print tables and verdicts."""
    path = str(HERE / "retrieval.yaml")
    commands.run(path, settings)
    chosen = loading.load(path, settings)
    folder = Path(chosen.output) / chosen.name
    runs = {run.strategy: run for run in ExperimentResult.load(folder / "results.json").runs}
    samples = (chosen.probes["template_extraction"] or {})["samples"]
    claims = [*of_scores(runs), *of_interference(runs), *of_extraction(runs[TRAINED], samples)]
    text = "\n".join([scores(runs), extraction(runs[TRAINED]), listed(claims)])
    (folder / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    script.run(main)
