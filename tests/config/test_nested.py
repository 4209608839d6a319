"""Nested mappings of settings."""

from __future__ import annotations

from cl.config.nested import flat


def test_flat() -> None:
    assert flat({"train": {"lr": 0.1, "betas": (0.9, 0.95), "deep": {"er": None}}, "seed": 0, "none": {}}) == {
        "train.lr": 0.1,
        "train.betas": (0.9, 0.95),
        "train.deep.er": None,
        "seed": 0,
    }
