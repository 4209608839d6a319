"""What a model remembers of a text: the order of its segments, and which kinds of tokens it forgets.

Sources: SORT, arXiv 2410.08133; function tokens, arXiv 2510.08203.

    python experiments/remembers.py [--KEY=VALUE …]

Runs remembers.yaml (three probes on a small model over two tasks), function_tokens.yaml (the loss in groups inside the
stages) and remembers_pretrained.yaml (the order of segments asked of a pretrained model); stored nodes are not computed
again. Then writes results/remembers/table.md: figures as mean and 95 % t-interval over seeds, and a verdict per claim.
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

HERE = Path(__file__).parent
GROUPS = ("content_to_content", "content_to_function", "function_to_content", "function_to_function")
SORT = ("sort_in_context", "sort_from_memory", "sort_nll")


def value(runs: Sequence[RunResult], probe: str, row: int, task: str, key: str) -> Interval:
    """A figure of a task after some tasks, a value per seed."""
    return Interval(tuple(run.probes[probe][row][task][key] for run in runs))


def of_order(runs: Sequence[RunResult], task: str, row: int, pairs: int) -> list[Claim]:
    """Claims of SORT on one task, before training and just after it was learned.

    From memory, the paper's finding is that models are near chance: the claim holds if the share of pairs lies within
    two standard errors of one half, of as many pairs as one model is asked for; all seeds are asked the same. Where the
    excerpt does not help, the model does not answer such questions at all, and its half says nothing about memory.
    """

    def share(key: str, at: int = row) -> Interval:
        return value(runs, "segment_order", at, task, key)

    half = 2 * math.sqrt(0.25 / pairs)
    help_given = share("sort_in_context") - share("sort_from_memory")
    memory = share("sort_from_memory")
    rise = [share(f"sort_nll{end}") - share(f"sort_nll{end}", 0) for end in ("", "_unseen")]
    helps = _clear(help_given, half)
    near = "not decided" if helps != "holds" else "holds" if abs(memory.mean - 0.5) <= half else "fails"
    return [
        (f"{task}: the excerpt in the prompt helps", helps, f"{help_given}, 2 SE {half:.2f}"),
        (f"{task}: from memory models are near chance", near, f"{memory}, within 2 SE {half:.2f}"),
        (f"{task}: likelihood orders what was studied better than before, beyond unseen text",
         _clear(rise[0] - rise[1], math.sqrt(2) * half), f"{rise[0] - rise[1]}"),
    ]  # fmt: skip


def _clear(gain: Interval, least: float) -> str:
    """Verdict on a rise of a share of pairs: by the interval over seeds, of one seed by two standard errors."""
    if len(gain.values) > 1:
        return above(gain)
    return "holds" if gain.mean > least else "fails" if gain.mean < -least else "not decided"


def of_groups(runs: Sequence[RunResult]) -> list[Claim]:
    """Claims on function tokens at the rows of R: the hardest group, and what is lost of the first task by the last."""
    first, last = runs[0].order[0], len(runs[0].order)
    learned = {group: value(runs, "function_tokens", 1, first, group) for group in GROUPS}
    lost = {group: value(runs, "function_tokens", last, first, group) - learned[group] for group in GROUPS}
    others = [
        learned["function_to_content"] - each for group, each in learned.items() if group != "function_to_content"
    ]
    gap = _predicted(lost, "content") - _predicted(lost, "function")
    hardest = min(others, key=lambda each: each.mean)
    return [
        ("content after a function token is hardest to predict", above(hardest), f"{hardest} above the next group"),
        ("content is lost more than function tokens, in nats per token", above(gap), str(gap)),
    ]


def _predicted(groups: dict[str, Interval], kind: str) -> Interval:
    """Mean over the two groups that predict a kind of token."""
    return mean_of([each for group, each in groups.items() if group.endswith(f"_to_{kind}")])


def progress(run: RunResult, task: str, row: int, group: str) -> dict[int, float]:
    """Share of the whole change of a group's loss in a stage that has happened at each step inside it."""
    start, end = (run.probes["function_tokens"][at][task][group] for at in (row - 1, row))
    inside = {each.step: each.sets[task][group] for each in run.inside
              if (each.label, each.row) == ("function_tokens", row) and each.step is not None}  # fmt: skip
    return {step: (loss - start) / (end - start) for step, loss in sorted(inside.items())}


def of_speed(runs: Sequence[RunResult]) -> list[Claim]:
    """Claims on which kind of token changes first, while the first task is learned and while the next one is.

    Compared is the share of the whole change of a stage, mean over the groups that predict a kind and over the steps
    inside the stage at which the probe measured.
    """
    task, made = runs[0].order[0], []
    for row, claim in ((1, "function tokens are learned first"), (2, "content is lost first")):
        kinds = ("function", "content") if row == 1 else ("content", "function")
        groups = {group: Interval(tuple(_mean(progress(run, task, row, group)) for run in runs)) for group in GROUPS}
        ahead = _predicted(groups, kinds[0]) - _predicted(groups, kinds[1])
        made.append((claim, above(ahead), f"{ahead} of the whole change"))
    return made


def _mean(curve: dict[int, float]) -> float:
    return sum(curve.values()) / len(curve)


def table(runs: Sequence[RunResult], probe: str, keys: Sequence[str]) -> str:
    """Figures of a probe by task and row of R, as a Markdown table."""
    order = runs[0].order
    lines = [f"| {runs[0].strategy}, {probe} | before | {' | '.join(f'after {task}' for task in order)} |",
             "|---" * (len(order) + 2) + "|"]  # fmt: skip
    for task in order:
        for key in keys:
            cells = " | ".join(str(value(runs, probe, row, task, key)) for row in range(len(order) + 1))
            lines.append(f"| {task}: {key} | {cells} |")
    return "\n".join(lines) + "\n"


def speeds(runs: Sequence[RunResult]) -> str:
    """`progress` of the first task's groups while the tasks are learned, as a Markdown table."""
    task = runs[0].order[0]
    parts = []
    for row, learned in enumerate(runs[0].order, start=1):
        curves = {group: [progress(run, task, row, group) for run in runs] for group in GROUPS}
        steps = list(curves[GROUPS[0]][0])
        parts += [f"| share of the change of {task} while {learned} is learned | "
                  f"{' | '.join(f'step {step}' for step in steps)} |", "|---" * (len(steps) + 1) + "|"]  # fmt: skip
        for group, found in curves.items():
            cells = " | ".join(str(Interval(tuple(curve[step] for curve in found))) for step in steps)
            parts.append(f"| {group} | {cells} |")
        parts.append("")
    return "\n".join(parts)


def _run(name: str, settings: list[str]) -> ExperimentResult:
    """Run an experiment and return its result."""
    path = str(HERE / f"{name}.yaml")
    commands.run(path, settings)
    chosen = loading.load(path, settings)
    return ExperimentResult.load(Path(chosen.output) / chosen.name / "results.json")


def main(settings: list[str]) -> None:
    """Run the experiments, write and print tables and verdicts."""
    small, steps, pretrained = (
        _run(name, settings) for name in ("remembers", "function_tokens", "remembers_pretrained")
    )
    shown = [f"{key}{end}" for key in SORT for end in ("", "_unseen")]
    rewarm, replay = ([run for run in small.runs if run.strategy == name] for name in ("rewarm", "rewarm_replay_25"))
    parts = [table(rewarm, "segment_order", shown), table(pretrained.runs, "segment_order", shown)]
    parts += [table(runs, "function_tokens", GROUPS) for runs in (rewarm, replay)]
    parts += [speeds(steps.runs), *(table(runs, "divergence", ["forward_kl"]) for runs in (rewarm, replay))]
    claims = [claim for row, task in enumerate(rewarm[0].order, start=1) for claim in of_order(rewarm, task, row, 100)]
    claims += [(f"pretrained, {claim}", told, why) for claim, told, why in of_order(pretrained.runs, "news", 1, 30)]
    claims += of_groups(rewarm) + of_speed(steps.runs)
    text = "\n".join([*parts, listed(claims)])
    folder = Path(loading.load(str(HERE / "remembers.yaml"), settings).output) / "remembers"
    (folder / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    script.run(main)
