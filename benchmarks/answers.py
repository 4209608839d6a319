"""Answers per second of a packaged model: fixed batches, our continuous batching, and that of transformers.

    python benchmarks/answers.py [--scenario=instructions] [--tasks=sums,relations] [--items=100] [--batch=8]

Questions are those of the tests of a scenario, in the model's chat template, with the default settings of evaluation.
Arms alternate within a round and ratios are taken within a round, so drift of the machine cancels. Seconds are those of
the processor: with one thread, other work on the machine changes them little. The last column counts the answers that
are those of fixed batches, token by token; rounding can decide between two tokens that are equally likely.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jsonargparse import auto_cli

if Path(sys.path[0]) == Path(__file__).parent:  # `strategies` below is the package, not the benchmark here
    sys.path.pop(0)

Answer = Callable[..., list[list[int]]]
SHOWN = {
    "fixed": "fixed batches, `generate`",
    "continuous": "cl.models.generation.continuous",
    "paged": "transformers' continuous batching",
}


def experiment(model: str, scenario: str, store: str) -> Any:
    """An experiment with the data and the model of the measurement."""
    from cl.config.loading import parse

    named = {"name": "answers", "scenario": scenario, "model": {"name": model}, "examples": 8, "store": store}
    return parse({**named, "strategies": {"lora_merged": {}}, "train": {"sequence": 512}})


def asked(model: str, scenario: str, items: int, folder: str) -> tuple[Any, dict[str, tuple[list[Any], int, set[int]]]]:
    """The model, and by task its questions, the largest length of an answer and the tokens that end one."""
    from rich.console import Console

    from cl.data.rows import DialogueRows, rows
    from cl.execution import cost_estimate, runner
    from cl.execution.store import Store
    from cl.graph import planner
    from cl.graph.stored import result_of
    from cl.models import decoding, pretrained
    from cl.reporting.terminal import ProgressListener
    from cl.steps.evaluate import ANSWER_MARGIN

    graph, store = planner.build(experiment(model, scenario, folder)), Store(folder)
    todo = runner.pending([graph.base, *graph.data.values()], store)
    listener = ProgressListener(Console(stderr=True), todo, cost_estimate.estimate(graph, todo, store))
    runner.run(todo, store, listener)
    loaded, found = pretrained.load(store.path(graph.base)).eval(), {}
    for name, node in graph.data.items():
        windows = rows(store.path(node), name, "test", 512)
        assert isinstance(windows, DialogueRows)
        count = min(items, len(windows))
        longest = max(int(windows.lengths[row]) + 1 - windows.answers[row] for row in range(count))
        ends = {result_of(store.path(node))["end_of_turn"], *decoding.stated_ends(loaded)}
        found[name] = ([windows.question(row) for row in range(count)], int(longest) + ANSWER_MARGIN, ends)
    return loaded, found


def arms(model: Any, batch: int) -> dict[str, Answer]:
    """Functions from questions, limit and ends to answers, with what follows an end."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    from cl.models import decoding
    from cl.models.generation import continuous

    def paged(questions: list[Any], limit: int, ends: set[int]) -> list[list[int]]:
        config = GenerationConfig(max_new_tokens=limit, do_sample=False, eos_token_id=sorted(ends), pad_token_id=0)
        size = ContinuousBatchingConfig(page_size=32, num_blocks=512, max_batch_tokens=1024, max_memory_percent=0.3)
        ids = [question.tolist() for question in questions]
        found = model.generate_batch(ids, generation_config=config, continuous_batching_config=size, progress_bar=False)
        return [list(each.generated_tokens) for each in found.values()]

    def fixed(questions: list[Any], limit: int, ends: set[int]) -> list[list[int]]:
        return decoding._in_fixed_batches(model, questions, limit, batch, ends, 0, None, lambda done: None)

    def ours(questions: list[Any], limit: int, ends: set[int]) -> list[list[int]]:
        return continuous.answers(model, questions, limit, batch, lambda ids: ids[-1] in ends, 0)

    return {"fixed": fixed, "continuous": ours, "paged": paged}


def main(
    model: str = "smollm2-135m-instruct",
    scenario: str = "instructions",
    tasks: str = "",
    items: int = 100,
    batch: int = 8,
    rounds: int = 2,
    only: str = ",".join(SHOWN),
    threads: int = 1,
) -> None:
    """Print a table per task.

    Args:
        model: name of a pretrained model.
        scenario: name of a scenario of instruction tasks.
        tasks: names of tasks, separated by commas; empty: all.
        items: questions per task.
        batch: questions per pass, as `evaluation.batch`.
        rounds: measurements of each arm.
        only: arms that are measured, separated by commas; `fixed` is always among them.
        threads: threads of torch.
    """
    from cl.models import decoding

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        loaded, found = asked(model, scenario, items, folder)
    chosen = {name: arm for name, arm in arms(loaded, batch).items() if name in {"fixed", *only.split(",")}}
    for name, (questions, limit, ends) in found.items():
        if tasks and name not in tasks.split(","):
            continue
        times: dict[str, list[float]] = {arm: [] for arm in chosen}
        texts: dict[str, list[list[int]]] = {}
        for _ in range(rounds):
            for arm, answer in chosen.items():
                start = time.process_time()
                texts[arm] = [decoding._until(ids, ends) for ids in answer(questions, limit, ends)]
                times[arm].append(time.process_time() - start)
        length = statistics.mean(map(len, texts["fixed"]))
        print(f"\n{name}: {len(questions)} questions, answers of {length:.0f} tokens on average, at most {limit}")
        print(f"{'arm':36} {'answers/s':>9} {'x fixed':>8} {'equal':>6}")
        for arm, each in times.items():
            ratio = statistics.median(base / own for base, own in zip(times["fixed"], each, strict=True))
            equal = sum(a == b for a, b in zip(texts[arm], texts["fixed"], strict=True))
            speed = len(questions) / statistics.median(each)
            print(f"{SHOWN[arm]:36} {speed:9.2f} {ratio:8.2f} {equal:6}", flush=True)


if __name__ == "__main__":
    auto_cli(main)
