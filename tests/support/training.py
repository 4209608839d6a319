"""Small things to train: packed toy rows, a toy experiment on disk, and a method that has a state."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
import yaml

from cl import cli
from cl.config import loading
from cl.config.model import Model
from cl.data.batches import Batch
from cl.data.rows import rows
from cl.execution import runner
from cl.execution.store import Store
from cl.graph import planner
from cl.graph.node import Node
from cl.graph.planner import Graph
from cl.methods.method import InSomeTasks, Learned, Remembers, Stage, Step, Trains
from cl.metrics.records import Point
from cl.models import pretrained
from cl.training.learner import Learner
from strategies.schedules.infinite import InfCosine

torch.set_num_threads(1)  # threads that wait for one another cost small models far more than they save

ROOT = Path(__file__).parents[2]

TEXTS = ROOT / "scenarios" / "tiny"
SEPARATOR, VOCABULARY = 0, 50
STEPS = 24  # optimizer steps of a stage of the toy experiment

SCENARIO: dict[str, Any] = {
    "summary": "a few paragraphs of English, then of German",
    "version": 1,
    "tasks": {
        name: {"limit": "9kB", "sources": [{"source": "files", "path": f"{name}.txt", "separator": "\n\n"}]}
        for name in ("english", "german")
    },
    "split": {"validation": 0.2, "test": 0.2},
}
EXPERIMENT: dict[str, Any] = {
    "question": "Does it run?",
    "scenario": "toy.yaml",
    "model": {"name": "llama-tiny", "vocabulary": 300},
    "tokens": 4 * 32 * STEPS,
    "train": {"sequence": 32, "batch": 4, "lr": 3e-3, "precision": "fp32", "compile": False, "device": "cpu"},
    "evaluation": {"tokens": 512, "probe_tokens": 128, "batch": 4, "points": 4, "share": 0.9},
    "strategies": {"finetune": None},
}


@dataclass(eq=False)
class Anchor(InSomeTasks, Trains, Remembers):
    """An L2 anchor at the start of each stage, stronger where gradients were large: it has a state of its own."""

    weight: float = 1.0

    start: dict[str, torch.Tensor] = field(init=False, repr=False, default_factory=dict)
    importance: dict[str, torch.Tensor] = field(init=False, repr=False, default_factory=dict)

    def remember(self, memory: Mapping[str, torch.Tensor]) -> None:
        self.load_state_dict(memory)

    def prepare(self, model: Any, t: int) -> Any:
        self.start = {name: value.detach().clone() for name, value in model.named_parameters()}
        self.importance = self.importance or {name: torch.zeros_like(value) for name, value in self.start.items()}
        return model

    def consolidate(self, learned: Learned) -> dict[str, torch.Tensor]:
        return dict(learned.tensors)

    def step_terms(self, at: Step) -> dict[str, torch.Tensor]:
        total = torch.zeros(())
        for name, value in at.model.named_parameters():
            total = total + ((1 + self.importance[name]) * (value - self.start[name]) ** 2).sum()
        return {"anchor": self.weight * total}

    def after_backward(self, at: Step) -> None:
        for name, value in at.model.named_parameters():
            assert value.grad is not None
            self.importance[name] += value.grad**2

    def state_dict(self) -> dict[str, torch.Tensor]:
        return dict(self.importance)

    def load_state_dict(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.importance = {name: value.clone() for name, value in tensors.items()}


class Whole(InfCosine):
    """The infinite schedule without its fork: each stage trained in one go."""

    def stages(self, stages: list[Stage]) -> list[Stage]:
        return stages


@dataclass(eq=False)
class Surveyor(Trains):
    """Looks at what each stage is about to learn, draws random numbers, and does nothing. seen: its rows, by stage."""

    seen: ClassVar[list[list[tuple[int, ...]]]] = []

    def survey(self, ahead: Learned) -> None:
        self.seen.append([])
        for batch in ahead.batches(8):
            assert batch.origin is not None
            assert set(batch.origin[:, 0].tolist()) == {0}
            ahead.loss(batch).backward()
            torch.rand(3)
            self.seen[-1] += [tuple(row) for row in batch.ids.tolist()]
        assert not ahead.model.training
        assert not ahead.memory
        assert list(ahead.tasks) == [("english", "german")[ahead.t - 1]]


class Silent:
    """A listener that only keeps the points."""

    def __init__(self) -> None:
        self.points: list[tuple[str, Point]] = []

    def waiting(self, node: Node) -> None: ...

    def started(self, node: Node) -> None: ...

    def progress(self, node: Node, done: int, total: int) -> None: ...

    def point(self, node: Node, point: Point) -> None:
        self.points.append((node.key, point))

    def note(self, node: Node, text: str) -> None: ...

    def finished(self, node: Node, seconds: float) -> None: ...


def tiny(name: str = "llama-tiny", seed: int = 0, vocabulary: int = VOCABULARY) -> Any:
    """A fresh named model with separator 0."""
    return pretrained.create(Model(name=name), vocabulary, SEPARATOR, seed, sequence=32)


def token_rows(count: int, sequence: int = 16, vocabulary: int = VOCABULARY) -> torch.Tensor:
    """Ids [count, sequence + 1] without chance: squares modulo a prime, a separator now and then."""
    ids = torch.arange(count * (sequence + 1)) ** 2 % 7919 % vocabulary
    return ids.reshape(count, sequence + 1)


def write_toy(folder: Path, **changes: Any) -> Path:
    """Scenario toy.yaml with its texts, and experiment toyexp.yaml with `changes` merged in; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("english", "german"):
        (folder / f"{name}.txt").write_text((TEXTS / f"{name}.txt").read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "toy.yaml").write_text(yaml.safe_dump(SCENARIO, sort_keys=False))
    content = EXPERIMENT | {
        key: EXPERIMENT[key] | value if key in ("train", "evaluation") else value for key, value in changes.items()
    }
    (folder / "toyexp.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


def write_strategy(folder: Path, name: str, methods: Sequence[Any]) -> None:
    """A strategy of the user's own, in the folder's strategies/."""
    (folder / "strategies").mkdir(exist_ok=True)
    (folder / "strategies" / f"{name}.yaml").write_text(yaml.safe_dump({"summary": name, "methods": list(methods)}))


def dropout_model(folder: Path) -> Path:
    """A local model directory: a small Llama with attention dropout, and a byte-level tokenizer."""
    from cl.data import tokenization
    from cl.steps import tokenizer as tokenizer_

    text = iter((TEXTS / "english.txt").read_text(encoding="utf-8").split("\n\n"))
    tokenizer = tokenizer_._train_bpe(text, 300)
    tokenizer.save_pretrained(folder)
    model = pretrained.create(
        Model(name="llama-tiny"), 300, tokenizer.get_vocab()[tokenization.SEPARATOR], 0, sequence=32
    )
    model.config.attention_dropout = 0.3
    pretrained.save(model, folder)
    return folder


def plan(folder: Path, *settings: str) -> tuple[Graph, Store]:
    """The toy experiment's graph and its store."""
    with contextlib.chdir(folder):
        planned = planner.build(loading.load("toyexp.yaml", list(settings)))
    return planned, Store(folder / planned.experiment.store)


def execute(folder: Path, node: Node, store: Store) -> Silent:
    """Execute a node of the toy experiment and what it stands on, in this process."""
    listener = Silent()
    with contextlib.chdir(folder):
        runner.run(runner.pending([node], store), store, listener)
    return listener


def run(folder: Path, *settings: str) -> dict[str, Any]:
    """`cl run` of the toy experiment in this process, without tracking; returns results.json."""
    with contextlib.chdir(folder):
        assert cli.main(["run", "toyexp.yaml", "--tracking.uri=none", *settings]) == 0
    return results(folder)


def results(folder: Path) -> dict[str, Any]:
    """The results.json that a run has written."""
    found: dict[str, Any] = json.loads((folder / "results" / "toyexp" / "results.json").read_text(encoding="utf-8"))
    return found


def start(folder: Path, *settings: str, module: str = "cl.cli", **environ: str) -> subprocess.CompletedProcess[str]:
    """`cl run` of the toy experiment in a process of its own, with the tests importable."""
    # The sources may be edited while the tests run: a fixed version keeps the keys of two processes equal.
    fixed = {"PYTHONPATH": str(ROOT), "CL_CODE_VERSION": "test", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", module, "run", "toyexp.yaml", *settings]
    variables = os.environ | fixed | environ
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)


def weights(folder: Path, strategy: str = "finetune") -> list[bytes]:
    """Stored weights after each stage of a strategy's first run."""
    found = next(entry for entry in results(folder)["runs"] if entry["strategy"] == strategy)
    return [(folder / "store" / "nodes" / s["key"] / "model.safetensors").read_bytes() for s in found["stages"]]


def matrix(folder: Path, strategy: str = "finetune") -> Any:
    """R of a strategy's first run."""
    return next(entry for entry in results(folder)["runs"] if entry["strategy"] == strategy)["matrix"]


def learn(folder: Path) -> list[Path]:
    """Train the first run's stages, without rows of R and a report; returns the folders of their states."""
    planned, store = plan(folder)
    nodes = [stage.node for stage in planned.runs[0].stages]
    with contextlib.chdir(folder):
        runner.run(runner.pending(nodes, store), store, Quiet())
    return [store.path(node) for node in nodes]


def keys(folder: Path, *settings: str) -> list[list[str]]:
    planned, _ = plan(folder, *settings)
    return [[stage.node.key for stage in each.stages] for each in planned.runs]


class Quiet:
    def waiting(self, *_: Any) -> None: ...

    found = started = progress = point = finished = waiting


BATCH, SEQUENCE = 4, 32

ANCHORED = [{"rewarm_cosine": {}}, {"replay": {"share": 0.25}}, {"tests.support.training:Anchor": {"weight": 0.1}}]


def eventful(folder: Path, model: Path, steps: int = STEPS) -> Path:
    """A toy with dropout, replay, and a method that has a state."""
    write_toy(
        folder,
        model={"name": str(model)},
        tokens=BATCH * SEQUENCE * steps,
        checkpoints={"steps": 5},
        strategies={"anchored": None},
    )
    write_strategy(folder, "anchored", ANCHORED)
    return folder


def stage_results(folder: Path, strategy: str = "finetune") -> list[dict[str, Any]]:
    """What the train nodes of a strategy's first run have recorded."""
    found = next(entry for entry in results(folder)["runs"] if entry["strategy"] == strategy)
    files = [folder / "store" / "nodes" / stage["key"] / "node.json" for stage in found["stages"]]
    return [json.loads(file.read_text(encoding="utf-8"))["result"] for file in files]


def trained_rows(monkeypatch: Any, folder: Path, *settings: str) -> list[list[tuple[int, ...]]]:
    """Run the toy and return the rows that each train node trained on, in order."""
    stages: list[list[tuple[int, ...]]] = []
    inner = Learner.training_step

    def training_step(self: Learner, batch: Batch, index: int) -> None:
        if index == 0:
            stages.append([])
        stages[-1] += [tuple(row) for row in batch.ids.tolist()]
        inner(self, batch, index)

    monkeypatch.setattr(Learner, "training_step", training_step)
    run(folder, *settings)
    return stages


def split_rows(folder: Path, name: str, split: str) -> set[tuple[int, ...]]:
    graph, store = plan(folder)
    found = rows(store.path(graph.data[name]), name, split, SEQUENCE)
    return {tuple(found[row].ids.tolist()) for row in range(len(found))}
