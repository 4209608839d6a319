"""A fabricated but realistic ExperimentResult, so that reports can be tested and looked at without training."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from cl.metrics.records import Cell, DataResult, ExperimentResult, Measure, Point, RunResult, StageResult

STAGE_TOKENS = 2_000_000
STEPS = 500
POINTS = 20
BYTES_PER_TOKEN = {"english": 4.1, "german": 2.9, "docstrings": 3.2}
START = {"english": 10.83, "german": 10.85, "docstrings": 10.81}
AFTER_ENGLISH = {"english": 4.39, "german": 8.92, "docstrings": 6.94}
AT_THE_END = {
    "finetune": {"english": 7.12, "german": 4.99, "docstrings": 8.31},
    "rewarm": {"english": 7.46, "german": 4.81, "docstrings": 8.67},
    "rewarm_replay_25": {"english": 4.48, "german": 4.94, "docstrings": 7.02},
    "joint": {"english": 4.35, "german": 4.90, "docstrings": 6.88},
}
SUMMARY = {
    "finetune": "one task after the other, one decaying learning rate",
    "rewarm": "learning rate warmed up again for each task",
    "rewarm_replay_25": "rewarm, and 25 % of the tokens replayed from earlier tasks",
    "joint": "all tasks at once: an upper reference, not continual",
}


def experiment(seeds: Sequence[int] = (0,), strategies: Sequence[str] = tuple(AT_THE_END)) -> ExperimentResult:
    """Two tasks, one retain set, four strategies; stage 1 has the same node key in all but `joint`."""
    runs = [_run(strategy, seed) for strategy in strategies for seed in seeds]
    keys = {stage.key for run in runs for stage in run.stages}
    return ExperimentResult(
        name="replay_first_look",
        question="Does a little replay keep English while a small model learns German?",
        command="cl run experiments/replay_first_look.yaml --seeds 0,1",
        scenario="english_german",
        scenario_version=1,
        model="llama-3m",
        parameters=3_145_728,
        tasks=["english", "german"],
        retain=["docstrings"],
        general=[],
        data=_data(),
        runs=runs,
        asked=sum(len(run.stages) for run in runs),
        executed=len(keys),
        seconds=sum(stage.seconds for run in runs for stage in run.stages),
        environment={"python": "3.11.7", "torch": "2.13.0", "git": "0000000", "device": "cpu", "precision": "float32"},
        config={"model": {"name": "llama-3m", "context": 256}, "trainer": {"peak_lr": 1e-3, "step_tokens": 4096}},
    )


def one_run(matrix: dict[int, dict[str, float]], order: Sequence[str] = ("english", "german")) -> RunResult:
    """A run with a given matrix of losses and without curves, for tests by hand."""
    rows = {t: {name: _cell(name, loss) for name, loss in row.items()} for t, row in matrix.items()}
    return RunResult("hand", "", [], 0, list(order), 0, "k", [], rows, {t: f"row{t}" for t in rows})


def _run(strategy: str, seed: int) -> RunResult:
    end = {name: loss + 0.03 * seed for name, loss in AT_THE_END[strategy].items()}
    if strategy == "joint":
        stages = [_stage("english+german", strategy, seed, 0, 2, START, end, {"english": 0.5, "german": 0.5})]
        rows = {2: end}
    else:
        shares = {"english": 0.25, "german": 0.75} if "replay" in strategy else {"german": 1.0}
        first = _stage("english", "shared", seed, 0, 1, START, AFTER_ENGLISH, {"english": 1.0})
        stages = [first, _stage("german", strategy, seed, STAGE_TOKENS, 2, AFTER_ENGLISH, end, shares)]
        rows = {0: START, 1: AFTER_ENGLISH, 2: end}
    return RunResult(
        strategy=strategy,
        summary=SUMMARY[strategy],
        settings=[],
        seed=seed,
        order=["english", "german"],
        known=0,
        key=f"run-{strategy}-{seed}",
        stages=stages,
        matrix={t: {name: _cell(name, loss) for name, loss in row.items()} for t, row in rows.items()},
        matrix_keys={t: f"{t}c41f09be{seed}{strategy}"[:12] for t in rows},
    )


def _cell(name: str, loss: float) -> Cell:
    tokens = 100_000
    return Cell(nll=loss * tokens, tokens=tokens, bytes=tokens * BYTES_PER_TOKEN[name])


def _stage(
    name: str,
    strategy: str,
    seed: int,
    offset: int,
    row: int,
    start: dict[str, float],
    end: dict[str, float],
    shares: dict[str, float],
) -> StageResult:
    tokens = 2 * STAGE_TOKENS if strategy == "joint" else STAGE_TOKENS
    points = [_point(i / POINTS, tokens, seed, strategy, offset, start, end, shares) for i in range(POINTS + 1)]
    return StageResult(
        name=name,
        key=f"{strategy}-{name}-{seed}",
        row=row,
        offset=offset,
        tokens=tokens,
        seconds=tokens / 9000,
        eval_seconds=tokens / 110_000,
        reused=strategy == "shared",
        points=points,
        seen=points[-1].seen,
    )


def _point(
    u: float,
    tokens: int,
    seed: int,
    strategy: str,
    offset: int,
    start: dict[str, float],
    end: dict[str, float],
    shares: dict[str, float],
) -> Point:
    """The point at fraction u of its stage: exponential approach, a little noise, a bump where old data returns."""
    bump = 6.0 * u * math.exp(-9 * u) if "replay" in strategy else 0.0
    scores = {}
    for name, loss in end.items():
        noise = 0.02 * math.sin(37 * u + 5 * seed + len(name)) * (0 < u < 1)
        scores[name] = loss + (start[name] - loss) * _decay(u) + noise + bump * (name != "german")
    task = sum(share * scores[name] for name, share in shares.items())
    return Point(
        step=round(u * STEPS),
        tokens=round(u * tokens),
        seconds=u * tokens / 9000,
        loss=task if u else None,
        lr=_lr(u, strategy, offset) if u else None,
        grad_norm=0.4 + 0.5 * math.exp(-5 * u) if u else None,
        seen={name: round(share * u * tokens) for name, share in shares.items()},
        scores=scores,
    )


def _decay(u: float) -> float:
    return (math.exp(-6 * u) - math.exp(-6)) / (1 - math.exp(-6))


def _lr(u: float, strategy: str, offset: int) -> float:
    """Warm-up over a tenth and cosine to a tenth of the peak; `finetune` stays at the low end for later tasks."""
    peak = 1e-3
    if offset and strategy == "finetune":
        return 0.1 * peak
    return peak * min(u / 0.1, 0.1 + 0.45 * (1 + math.cos(math.pi * u)))


def _data() -> dict[str, DataResult]:
    def entry(documents: int, tokens: int, bytes_per_token: float, source: str, licence: str) -> DataResult:
        splits = {"train": 0.9, "validation": 0.05, "test": 0.05}
        return DataResult(
            documents={split: round(documents * part) for split, part in splits.items()},
            tokens={split: round(tokens * part) for split, part in splits.items()},
            bytes={split: round(tokens * bytes_per_token * part) for split, part in splits.items()},
            overlap=0.0,
            sources=[source],
            licence=licence,
        )

    return {
        "english": entry(18_204, 2_412_000, 4.1, "House of Commons, parlspeech sample", "CC0-1.0"),
        "german": entry(179_831, 4_903_000, 2.9, "German Wiktionary glosses", "CC-BY-SA-4.0"),
        "docstrings": entry(6_120, 310_000, 3.2, "docstrings of the Python standard library", "PSF-2.0"),
    }


def with_runs(*runs: RunResult) -> ExperimentResult:
    return dataclasses.replace(experiment(), runs=list(runs), retain=[])


PROBED = {0: 0.25, 1: 0.5, 2: 0.75}  # by row; English a tenth more, each seed a hundredth more


def probed(seeds: Sequence[int] = (0,)) -> ExperimentResult:
    """The fabricated experiment with a probe `linear` of all rows, whose measures are an accuracy and a count."""
    made = experiment(seeds)
    runs = []
    for run in made.runs:
        rows: dict[int, dict[str, dict[str, float]]] = {
            t: {name: {"accuracy": PROBED[t] + 0.1 * (name == "english") + 0.01 * run.seed} for name in run.order}
            for t in run.matrix
        }
        runs.append(dataclasses.replace(run, probes={"linear": rows}))
    accuracy = Measure("accuracy", "higher", "share", "Share of right classes.", chance=0.2)
    count = Measure("count", "lower", "classes", "Number of classes.")
    return dataclasses.replace(made, runs=runs, probes={"linear": [accuracy, count]})


ANSWERS = {"english": ("0000", "1110", "0111"), "german": ("0100", "0110", "1110")}  # by row


def answered(seeds: Sequence[int] = (0,)) -> ExperimentResult:
    """The fabricated experiment with four answers to each task in all rows; German has one of two labels."""
    made = experiment(seeds)
    runs = []
    for run in made.runs:
        rows = {t: {name: {"strict": ANSWERS[name][t]} for name in run.order} for t in run.matrix}
        runs.append(dataclasses.replace(run, answers=rows, options={"german": 2.0}))
    return dataclasses.replace(made, runs=runs)


CONTENDERS = ("finetune", "rewarm", "rewarm_replay_25")


def contenders(seeds: int = 8, **noise: float) -> ExperimentResult:
    """The fabricated experiment; noise: added to the last row of a strategy, times (-1)^seed."""
    made = experiment(range(seeds), CONTENDERS)
    runs = []
    for run in made.runs:
        matrix = dict(run.matrix)
        matrix[2] = {
            name: dataclasses.replace(cell, nll=cell.nll + noise.get(run.strategy, 0) * (-1) ** run.seed * cell.tokens)
            for name, cell in matrix[2].items()
        }
        runs.append(dataclasses.replace(run, matrix=matrix))
    return dataclasses.replace(made, runs=runs)
