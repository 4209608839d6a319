"""The record that goes with a comparison."""

from __future__ import annotations

import dataclasses

import yaml

from cl.config.compare import Compare
from cl.metrics import comparison, disclosure
from tests.support.results import contenders as result


def test_the_record_says_what_is_omitted() -> None:
    made = result()
    full = dataclasses.replace(made, config={"model": {"revision": None}, "tokens": 1, "examples": {}, "train": {},
                                             "evaluation": {"tokens": 1, "items": 0, "batch": 8}})  # fmt: skip
    found = disclosure.record(full, comparison.compare(made, Compare()))
    assert found["values_in_place_of_these"] == found["evaluation"]["split"] == "omitted"
    assert found["tests"]["family"][0] == "op_final_nll: rewarm - finetune"
    assert found["hyperparameter_selection"] == found["human_rating"] == "omitted"
    assert yaml.safe_load(disclosure.text(found))["seeds"] == list(range(8))
