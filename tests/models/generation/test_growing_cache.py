"""A cache with room: the columns of transformers' own, and no copy while there is room."""

from __future__ import annotations

import torch

from cl.models.generation import growing_cache
from cl.models.generation.growing_cache import appended, cache_of, pairs_of
from tests.support.training import tiny


def test_columns_are_appended_in_place_while_there_is_room() -> None:
    parts = torch.randn(20, 2, 3, 1, 4)
    kept, room = appended(parts[0], None, parts[1])
    first = room.data_ptr()
    for part in parts[2 : growing_cache.ROOM + 2]:
        kept, room = appended(kept, room, part)
    assert room.data_ptr() == first
    for part in parts[growing_cache.ROOM + 2 :]:
        kept, room = appended(kept, room, part)
    assert room.data_ptr() != first
    assert torch.equal(kept, torch.cat(list(parts), dim=2))


def test_logits_and_columns_are_those_of_transformers() -> None:
    from transformers import DynamicCache

    model, ids = tiny().eval(), torch.arange(24).reshape(2, 12) + 1
    ours, theirs = cache_of([]), DynamicCache()
    for start, stop in ((0, 5), (5, 6), (6, 12)):
        with torch.no_grad():
            logits = [
                model(input_ids=ids[:, start:stop], past_key_values=cache, use_cache=True).logits
                for cache in (ours, theirs)
            ]
        assert torch.equal(logits[0], logits[1])
        ours = cache_of(pairs_of(ours))  # the same after it was taken apart
    for found, expected in zip(pairs_of(ours), pairs_of(theirs), strict=True):
        assert torch.equal(torch.stack(found), torch.stack(expected))
