"""Copyright traps (arXiv 2402.09363) at small scale: who can tell injected text from text that was not injected?

    python experiments/traps.py [--KEY=VALUE …]

Runs experiments/traps.yaml (stored nodes are not trained again), and writes results/traps/table.md: areas under the
ROC curve along the stream as mean and 95 % t-interval over seeds, and a verdict per claim. The paper's best area is
0.75, of a model with 1.3 B parameters. Items are beginnings of documents that the stream does not have, and not
generated traps (write_traps.py makes those), so their perplexities spread less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import script
from intervals import Claim, Interval, above, listed, mean_of

from cl.commands import run as commands
from cl.config import loading
from cl.metrics.records import ExperimentResult, RunResult
from cl.metrics.roc import NORMAL_95

HERE = Path(__file__).parent
STAGE = 2  # the stage of the insertion, in traps.yaml


def area(runs: Sequence[RunResult], probe: str, test: str, row: int, level: int, bucket: int | None = None) -> Interval:
    """The area of a test after a task, a value per seed."""
    name = f"copies {level} stage {STAGE}" + ("" if bucket is None else f" bucket {bucket}")
    return Interval(tuple(run.probes[probe][row][name][test] for run in runs))


def chance(
    runs: Sequence[RunResult], levels: Sequence[int], rows: Sequence[int], tests: Sequence[str]
) -> tuple[str, str]:
    """Verdict and figures: whether each mean area over seeds lies within two standard errors of 0.5 under chance.

    The standard error is that of one run over the root of the number of seeds, each of which draws members anew.
    """
    named = [(row, level, test) for row in rows for level in levels for test in tests]
    half = area(runs, "membership", "null", rows[0], levels[0]).mean / math.sqrt(len(runs))
    off = {each: abs(area(runs, "membership", each[2], each[0], each[1]).mean - 0.5) for each in named}
    beyond = sum(each > 2 * half / NORMAL_95 for each in off.values())
    return ("fails" if beyond else "holds"), f"{beyond} of {len(off)} beyond, largest distance {max(off.values()):.2f}"


def verdicts(
    inserted: Sequence[RunResult], plain: Sequence[RunResult], levels: Sequence[int], buckets: int
) -> list[Claim]:
    """Claim, verdict and figures for each claim."""
    few, some, many = levels

    def ratio(level: int, row: int = STAGE, bucket: int | None = None) -> Interval:
        return area(inserted, "membership" if bucket is None else "traps", "ratio", row, level, bucket)

    bound = 0.5 + 3 * area(inserted, "membership", "null", STAGE, many).mean / NORMAL_95
    by_perplexity = mean_of([ratio(level, STAGE, buckets) - ratio(level, STAGE, 1) for level in levels])
    behind = mean_of([area(inserted, "traps", "in_context_ratio", STAGE, each) - ratio(each) for each in levels])
    gains = [
        (f"{many} repeats are detected: above 0.5 + 3 SE", ratio(many), bound),
        (f"{many} repeats are detected better than {some}", ratio(many) - ratio(some), 0.0),
        (f"{some} repeats are detected better than {few}", ratio(some) - ratio(few), 0.0),
        ("traps of higher perplexity are detected better (mean over repeats)", by_perplexity, 0.0),
        ("traps are detected better behind their context (mean over repeats)", behind, 0.0),
        (f"detection of {many} repeats falls while a later task is learned", ratio(many) - ratio(many, STAGE + 1), 0.0),
    ]
    return [
        ("at chance before the traps come", *chance(inserted, levels, range(STAGE), ["loss"])),
        ("at chance with 0 repeats", *chance(plain, levels, range(STAGE, STAGE + 2), ["loss", "ratio"])),
        *((claim, above(gain, least), f"{gain}, bound {least:.2f}") for claim, gain, least in gains),
    ]


def table(inserted: Sequence[RunResult], levels: Sequence[int], buckets: int) -> str:
    """Areas along the stream, as a Markdown table."""
    order = inserted[0].order
    rows = range(STAGE - 1, len(order) + 1)
    after = " | ".join(f"after {order[row - 1]}" for row in rows)
    lines = [f"| repeats | test | {after} |", "|---" * (len(rows) + 2) + "|"]
    tests: list[tuple[str, str, int | None]] = [("membership", test, None) for test in ("loss", "ratio", "min_k")]
    tests += [("traps", "in_context", None), ("traps", "in_context_ratio", None)]
    tests += [("traps", "ratio", bucket + 1) for bucket in range(buckets)]
    for level in levels:
        for probe, test, bucket in tests:
            cells = " | ".join(str(area(inserted, probe, test, row, level, bucket)) for row in rows)
            shown = test if bucket is None else f"{test}, bucket {bucket} of perplexity"
            lines.append(f"| {level} | {shown} | {cells} |")
    return "\n".join(lines) + "\n"


def main(settings: list[str]) -> None:
    """Run the experiment, write and print the table and the verdicts."""
    path = str(HERE / "traps.yaml")
    chosen = loading.load(path, settings)
    folder = Path(chosen.output) / chosen.name
    commands.run(path, settings)
    result = ExperimentResult.load(folder / "results.json")
    inserted, plain = ([run for run in result.runs if run.strategy == name] for name in ("inserted", "rewarm"))
    probe = chosen.probes["traps"] or {}
    half = area(inserted, "membership", "null", STAGE, probe["levels"][0]).mean
    text = table(inserted, probe["levels"], probe["buckets"]) + f"\nChance is 0.5 ± {half:.2f} in one run.\n\n"
    text += listed(verdicts(inserted, plain, probe["levels"], probe["buckets"]))
    (folder / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    script.run(main)
