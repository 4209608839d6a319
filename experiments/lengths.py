"""Lengths of rows: dataset decomposition (arXiv 2405.13226), and longer rows with a larger base (arXiv 2309.16039).

    python experiments/lengths.py [--KEY=VALUE …]

Runs decomposition.yaml and long_context.yaml (stored nodes are not trained again), then writes table.md in
results/lengths: test loss in nats per token and tokens per second, as mean and 95 % t-interval over seeds, and a
verdict per claim on differences over the same seeds. The papers' models and corpora are far larger; their figures are
not compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import script
from intervals import Interval

from cl.commands import run as commands
from cl.config import loading
from cl.metrics.records import ExperimentResult, RunResult

HERE = Path(__file__).parent


def over_seeds(result: ExperimentResult, strategy: str, value: Callable[[RunResult], float]) -> Interval:
    """A figure of a strategy's runs, one value per seed."""
    runs = sorted((run for run in result.runs if run.strategy == strategy), key=lambda run: run.seed)
    return Interval(tuple(map(value, runs)))


def loss(result: ExperimentResult, strategy: str, row: int, task: str) -> Interval:
    """Test loss of a task after a row's tasks, in nats per token."""
    return over_seeds(result, strategy, lambda run: run.matrix[row][task].nll / run.matrix[row][task].tokens)


def speed(result: ExperimentResult, strategy: str) -> Interval:
    """Tokens per second of the first stage."""
    return over_seeds(result, strategy, lambda run: run.stages[0].tokens / run.stages[0].seconds)


def verdict(gain: Interval) -> str:
    """Whether a difference over seeds is above 0."""
    low, high = gain.mean - gain.half, gain.mean + gain.half
    return "holds" if low > 0 else "fails" if high < 0 else "not decided"


def decomposition(result: ExperimentResult) -> list[str]:
    """Losses, speeds and verdicts of decomposition against packed rows."""
    lines = ["| strategy | loss of english | thousand tokens/s |", "|---|---|---|"]
    for name in ("finetune", "decomposed", "evenly"):
        thousands = Interval(tuple(value / 1000 for value in speed(result, name).values))
        lines.append(f"| {name} | {loss(result, name, 1, 'english')} | {thousands} |")
    packed, cut, evenly = (loss(result, name, 1, "english") for name in ("finetune", "decomposed", "evenly"))
    faster = Interval(
        tuple(a - b for a, b in zip(speed(result, "decomposed").values, speed(result, "finetune").values, strict=True))
    )
    claims = [
        ("equal tokens teach more in pieces of single documents than in packed rows", packed - cut),
        ("short pieces first teach more than lengths mixed evenly", evenly - cut),
        ("pieces are faster than packed rows with isolated documents, in tokens per second", faster),
    ]
    return [*lines, "", *_told(claims)]


def long_context(result: ExperimentResult) -> list[str]:
    """Losses and verdicts of the stream from short to long rows."""
    lines = [
        "| strategy | short after short | short after long | long after short | long after long |",
        "|---" * 5 + "|",
    ]
    for name in ("rewarm", "long_context"):
        cells = (loss(result, name, row, task) for task in ("short", "long") for row in (1, 2))
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    claims = [
        ("learning long rows costs on short ones",
         loss(result, "rewarm", 2, "short") - loss(result, "rewarm", 1, "short")),
        ("the larger base costs more on short rows than the old one",
         loss(result, "long_context", 2, "short") - loss(result, "rewarm", 2, "short")),
        ("the larger base learns long rows better than the old one",
         loss(result, "rewarm", 2, "long") - loss(result, "long_context", 2, "long")),
    ]  # fmt: skip
    return [*lines, "", *_told(claims)]


def _told(claims: Sequence[tuple[str, Interval]]) -> list[str]:
    return [f"- {claim}: **{verdict(gain)}** (difference {gain})" for claim, gain in claims]


def main(settings: list[str]) -> None:
    """Run both experiments, write and print the tables."""
    text, output = "", Path()
    for name, told in (("decomposition", decomposition), ("long_context", long_context)):
        path = str(HERE / f"{name}.yaml")
        commands.run(path, settings)
        output = Path(loading.load(path, settings).output)
        text += "\n".join(told(ExperimentResult.load(output / name / "results.json"))) + "\n\n"
    (output / "lengths").mkdir(exist_ok=True)
    (output / "lengths" / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    script.run(main)
