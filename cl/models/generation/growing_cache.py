"""A cache of keys and values with room for further tokens: a token is written in place, not by a copy of all columns.

transformers' DynamicCache concatenates in every layer at every token. Of 64 rows of the packaged model on a CPU this
was a sixth of the time.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

ROOM = 16
"""Columns that are added when there is no room; they cost memory, and a copy every so many tokens costs little."""

Pairs = list[tuple[Tensor, Tensor]]
"""Keys and values [rows, heads, columns, width] of each layer."""


class GrowingLayer(DynamicLayer):
    """Keys and values of one layer. It has no window: masks of windows are made from all columns."""

    def __init__(self, keys: Tensor | None = None, values: Tensor | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rooms: list[Tensor | None] = [None, None]
        if keys is not None and values is not None:
            self.lazy_initialization(keys, values)
            self.keys, self.values = keys, values

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **settings: Any) -> tuple[Tensor, Tensor]:
        """Append the keys and values of new columns; returns those of all columns."""
        if self.keys is None or self.values is None:
            self.lazy_initialization(key_states, value_states)
            keys, values = key_states, value_states
        else:
            keys, self.rooms[0] = appended(self.keys, self.rooms[0], key_states)
            values, self.rooms[1] = appended(self.values, self.rooms[1], value_states)
        self.keys, self.values = keys, values
        return keys, values


def appended(kept: Tensor, room: Tensor | None, new: Tensor) -> tuple[Tensor, Tensor]:
    """Write new columns behind some.

    Args:
        kept: [rows, heads, columns, width], the first columns of `room` if there is one.
        room: a tensor with further columns.
        new: [rows, heads, new columns, width].

    Returns:
        All columns, as a view of the room; and the room, which is a new one if the old one was too small.
    """
    before, after = kept.shape[2], kept.shape[2] + new.shape[2]
    if room is None or room.shape[2] < after:
        room = kept.new_empty(*kept.shape[:2], after + ROOM, kept.shape[3])
        room[:, :, :before] = kept
    room[:, :, before:after] = new
    return room[:, :, :after], room


def cache_of(pairs: Pairs) -> Any:
    """The cache of some keys and values; without any, layers are made as a model needs them."""
    if not pairs:
        return Cache(layer_class_to_replicate=GrowingLayer)
    return Cache(layers=[GrowingLayer(keys, values) for keys, values in pairs])


def pairs_of(cache: Any) -> Pairs:
    """Keys and values of a cache."""
    return [(layer.keys, layer.values) for layer in cache.layers]
