"""Settings of `cl compare` check themselves."""

from __future__ import annotations

from typing import Any

import pytest

from cl.config.compare import Compare
from cl.errors import UserError


@pytest.mark.parametrize(
    ("wanted", "message"),
    [({"alpha": 0}, "alpha: 0"), ({"resamples": 3}, "at least 100"), ({"pairs": []}, "not be empty lists")],
)
def test_settings_check_themselves(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Compare(**wanted)
