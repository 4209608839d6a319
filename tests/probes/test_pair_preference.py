"""Preference in pairs: by hand, chance before training, a rise after it, and sets that have no pairs."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from cl.data.insertion import Design, read_items, read_pairs
from cl.errors import UserError
from cl.probes.pair_preference import figures, preferred
from tests.support.inserted import write_inserted
from tests.support.study import WORDS
from tests.support.training import SCENARIO, execute, plan

SETTINGS: dict[str, Any] = {"of": "twins", "levels": [24], "phases": 1, "stages": [1], "items": 4, "tokens": 8}


def write_pairs(folder: Path, *methods: Any, **changes: Any) -> Path:
    """The toy experiment with a set of pairs: sentences of six words, of which the first is another in the twin."""
    found = write_inserted(folder, *(methods or [{"insertion": SETTINGS | {"share": 0.6}}]), **changes)
    chance, rows = random.Random(0), []
    for _ in range(40):
        first, *words = chance.sample(WORDS, 7)
        rows.append({"text": " ".join(words), "twin": " ".join([first, *words[1:]])})
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    source = {"source": "stimuli", "form": "pairs", "path": "pairs.jsonl", "items": len(rows)}
    general = {"general": {"twins": {"kind": "passage", "sources": [source]}}}
    (folder / "toy.yaml").write_text(yaml.safe_dump(SCENARIO | general, sort_keys=False))
    return found


def test_a_tie_is_half_a_preference() -> None:
    found = preferred(torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([-2.0, -2.0, -2.0]))
    assert found.tolist() == [1.0, 0.5, 0.0]


def test_the_figures_of_a_cell_by_hand() -> None:
    now, before = torch.tensor([1.0, 1.0, 0.0, 0.5]), torch.tensor([0.0, 1.0, 1.0, 0.0])
    null = 1.959964 * math.sqrt(0.25 / 2)
    assert figures(now, before, [0, 1]) == {"preferred": 1.0, "null": null, "before": 0.5, "gained": 0.5}
    assert figures(now, None, [2, 3]) == {"preferred": 0.25, "null": null}


def test_a_run_prefers_what_was_inserted_and_is_at_chance_before(tmp_path: Path) -> None:
    probes = {"pair_preference": SETTINGS, "memorisation": SETTINGS}
    train = {"lr": 1e-2, "sequence": 32, "batch": 4, "precision": "fp32", "compile": False, "device": "cpu"}
    folder = write_pairs(tmp_path, probes=probes, train=train, tokens={"english": 4 * 32 * 60, "german": 4 * 32 * 2})
    graph, store = plan(folder)
    (run,) = graph.runs
    for node in (
        run.stages[0].node,
        *(run.probes["pair_preference"][t] for t in (0, 1)),
        run.probes["memorisation"][1],
    ):
        execute(folder, node, store)
    before, after = (store.result(run.probes["pair_preference"][t])["measures"] for t in (0, 1))
    cell = "copies 24 phase 1"
    assert (before[cell]["gained"], before["copies 0"]["gained"]) == (0.0, 0.0)
    assert abs(before[cell]["preferred"] - 0.5) <= before[cell]["null"]
    assert after[cell]["preferred"] > after[cell]["before"] == before[cell]["preferred"]
    assert after[cell]["gained"] == after[cell]["preferred"] - after[cell]["before"]
    assert cell in store.result(run.probes["memorisation"][1])["measures"]

    items = store.path(graph.data["twins"])
    design = Design("twins", (24,), 1, (1,), 4, 8)
    one, other = read_pairs(items, design, seed=0)
    assert (read_items(items, 0, design, seed=0) == one).all()
    assert {tuple(row) for row in one.tolist()}.isdisjoint(map(tuple, other.tolist()))
    flipped = read_pairs(items, design, seed=1)[0]
    assert all((row == either).all() or (row == second).all()
               for row, either, second in zip(flipped, one, other, strict=True))  # fmt: skip
    assert not (flipped == one).all()
    notes = json.loads((store.path(run.stages[0].node) / "replaced.json").read_text())
    assert {note["item"] for note in notes} == set(design.assigned(0)[24, 1])


def test_bits_are_balanced() -> None:
    design = Design("twins", (1,), phases=1, stages=(1,), items=500, tokens=4)
    shares = [design.chosen(seed).mean() for seed in range(20)]
    assert abs(float(np.mean(shares)) - 0.5) < 0.015
    assert (design.chosen(0) != design.chosen(1)).any()


def test_a_set_without_pairs_is_told_while_planning(tmp_path: Path) -> None:
    folder = write_inserted(tmp_path, probes={"pair_preference": SETTINGS | {"of": "canaries"}})
    with pytest.raises(UserError, match=r"pair_preference: has no effect: no task is of kind passage"):
        plan(folder)
    folder = write_pairs(tmp_path, probes={"pair_preference": SETTINGS | {"of": "canaries"}})
    with pytest.raises(UserError, match="of: set of passages: 'canaries' is unknown"):
        plan(folder)


def test_too_few_pairs_are_told(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path, {"insertion": SETTINGS | {"share": 0.9, "items": 8, "tokens": 25, "levels": [2]}})
    graph, store = plan(folder)
    with pytest.raises(UserError, match=r"of: twins has . training pairs that differ in their first 25 tokens, 16 are"):
        execute(folder, graph.runs[0].stages[0].node, store)
