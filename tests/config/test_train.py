"""Settings of training check themselves."""

from __future__ import annotations

import pytest

from cl.config.train import Train
from cl.errors import UserError


def test_devices_are_whole_numbers_from_one() -> None:
    with pytest.raises(UserError, match=r"train\.devices: 0 does not divide"):
        Train(devices=0)
