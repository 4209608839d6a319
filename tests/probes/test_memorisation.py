"""Memorisation: a memory that was planted, controls, and settings that differ from the method's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cl.data.batches import Batch
from cl.data.insertion import Design, Ints
from cl.errors import UserError
from cl.graph.measurement_specs import ProbeSpec
from cl.graph.roles import data
from cl.models.forward import TokenLoss
from cl.probes import inserted, memorisation
from cl.probes.memorisation import Memorisation
from cl.probes.probe import Data, History, State, Stretch
from tests.support.inserted import INSERTION, write_inserted
from tests.support.nodes import spec_of
from tests.support.training import VOCABULARY, execute, plan, tiny

SETTINGS = {key: value for key, value in INSERTION.items() if key != "share"}
DESIGN = Design("canaries", (1, 3), phases=2, stages=(1, 3), items=2, tokens=6)


def state_of(model: Any, seed: int = 0) -> State:
    return State(TokenLoss(model, 0, True), Path("unused"), "cpu", 3, history=History(seed, (Stretch(1, 10, 100),)))


def items(count: int, tokens: int) -> Ints:
    """Items of which no two begin alike."""
    body = np.random.default_rng(0).integers(1, VOCABULARY, (count, tokens))
    return np.concatenate([np.zeros((count, 1), np.int64), body], 1)


def test_a_planted_memory_is_found_in_its_cells_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that has learned the items of level 3 of the first stage continues them, and no others."""
    probe = Memorisation(levels=[1, 3], phases=2, stages=[1, 3], items=2, tokens=6)
    design, rows, model = probe.design(), items(DESIGN.size, 6), tiny()
    learned = [
        item for (level, phase), found in design.assigned(0).items() if level == 3 and phase < 3 for item in found
    ]
    optimizer, loss = torch.optim.AdamW(model.parameters(), lr=1e-2), TokenLoss(model, 0, True)
    batch = Batch(torch.from_numpy(rows[learned]), None)
    for _ in range(60):
        optimizer.zero_grad()
        loss.total(batch).backward()
        optimizer.step()
    monkeypatch.setattr(memorisation, "read_items", lambda *_: rows)
    monkeypatch.setattr(inserted, "texts", lambda *_: ["four"] * len(rows))
    found = probe.measure(state_of(model.eval()), Data({"canaries": Path("unused")}, 32, "test"))
    assert list(found) == ["copies 0", *(f"copies {level} phase {phase}" for level in (1, 3) for phase in (1, 2, 3, 4))]
    for phase in (1, 2):
        cell = found[f"copies 3 phase {phase}"]
        assert (cell["exact"], cell["rouge_l"]) == (1.0, 1.0)
        assert cell["memory"] == pytest.approx(cell["log_likelihood"] - found["copies 0"]["log_likelihood"])
        assert cell["memory"] > 1.0
        assert cell["recall"] == pytest.approx(1.0 - found["copies 0"]["rouge_l"])
        assert cell["recall"] > 0.5
        assert found[f"copies 1 phase {phase}"]["exact"] == 0.0
    assert found["copies 3 phase 1"]["age"] == 50
    assert "age" not in found["copies 3 phase 3"]
    assert set(found["copies 0"]) == {"log_likelihood", "rouge_l", "exact"}


def test_the_probe_reads_the_items_the_seed_and_the_stages(tmp_path: Path) -> None:
    folder = write_inserted(tmp_path, seeds=[0, 1], probes={"memorisation": SETTINGS})
    graph, _ = plan(folder)
    one, other = graph.runs
    rows = one.probes["memorisation"]
    stretch = [Stretch(t, 24, 24 * 4 * 32) for t in (1, 2)]
    assert [spec_of(rows[t], ProbeSpec).history for t in (0, 1, 2)] == [
        History(0, tuple(stretch[:t])) for t in (0, 1, 2)
    ]
    assert spec_of(rows[0], ProbeSpec).sets == ("english", "german", "canaries")
    assert data("canaries") in rows[0].parents
    assert rows[0].key != other.probes["memorisation"][0].key
    validated, _ = plan(folder, "--evaluation.split=validation")
    assert data("canaries") in validated.runs[0].probes["memorisation"][1].parents


def test_a_run_measures_all_cells_and_the_twin_without_insertions_has_the_same(tmp_path: Path) -> None:
    folder = write_inserted(tmp_path, strategies={"plain": None, "perturbed": None}, probes={"memorisation": SETTINGS})
    graph, store = plan(folder)
    measured = []
    for run in graph.runs:
        node = run.probes["memorisation"][1]
        execute(folder, node, store)
        measured.append(store.result(node)["measures"])
    plain, perturbed = measured
    assert list(plain) == list(perturbed) == ["copies 0", *(f"copies {n} phase {p}" for n in (1, 3) for p in (1, 2))]
    assert plain != perturbed
    gain = {name: perturbed[name]["log_likelihood"] - plain[name]["log_likelihood"] for name in plain}
    assert abs(gain["copies 0"]) < min(gain["copies 3 phase 1"], gain["copies 3 phase 2"])
    assert [perturbed[f"copies 3 phase {phase}"]["age"] for phase in (1, 2)] == [12 * 4 * 32, 0]


@pytest.mark.parametrize(
    ("methods", "settings", "message"),
    [
        ([], {**SETTINGS, "items": 3}, r"strategies\.perturbed: items: 3 differs from insertion\.items: 2"),
        ([], {**SETTINGS, "levels": [1]}, r"levels: \[1\] differs from insertion\.levels: \[1, 3\]"),
        ([], {**SETTINGS, "phases": 0}, "phases: 0 must be at least 1"),
        (
            [{"lora": {"life": "alone"}}, {"insertion": {**INSERTION, "stages": [2]}}],
            {**SETTINGS, "stages": [2]},
            "answers each task with an adapter of its own",
        ),
    ],
)
def test_what_cannot_be_measured_is_told_while_planning(
    methods: list[Any], settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        plan(write_inserted(tmp_path, *methods, probes={"memorisation": settings}))
