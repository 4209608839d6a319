"""Task arithmetic by hand."""

from __future__ import annotations

import torch

from strategies.merging.task_arithmetic import TaskArithmetic

ONE = {"a": torch.tensor([1.0, -2.0]), "b": torch.tensor([[4.0]])}
TWO = {"a": torch.tensor([3.0, 1.0]), "c": torch.tensor([6.0])}


def test_by_hand() -> None:
    found = TaskArithmetic(scale=0.5).merge([ONE, TWO])
    assert {name: value.tolist() for name, value in found.items()} == {"a": [2.0, -0.5], "b": [[2.0]], "c": [3.0]}
    assert TaskArithmetic(scale=1.0).merge([ONE])["a"].tolist() == [1.0, -2.0]
