"""Content hashes of JSON data."""

from __future__ import annotations

import pytest

from cl.hashing import digest


def test_digest_is_that_of_sorted_compact_json() -> None:
    # printf '{"a":[1,null],"b":"x"}' | sha256sum | cut -c1-20
    assert digest({"b": "x", "a": [1, None]}) == "3dece6dc8d22d61692b0"


@pytest.mark.parametrize("data", [{"a": object()}, {"a": {1, 2}}])
def test_digest_refuses_what_is_not_json(data: object) -> None:
    with pytest.raises(TypeError):
        digest(data)


def test_digest_refuses_nan() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest({"lr": float("nan")})
