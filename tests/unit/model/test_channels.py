"""The window of a channel, as people write it."""

from __future__ import annotations

import pytest

from pagethrift.errors import UsageError
from pagethrift.model.channels import parse_window


@pytest.mark.parametrize(
    ("window", "log"), [("128MiB", 27), ("1MiB", 20), ("1M", 20), ("1048576B", 20), ("64M", 26)]
)
def test_a_window_is_a_power_of_two(window: str, log: int) -> None:
    assert parse_window(window, "--window") == log


@pytest.mark.parametrize("window", ["512KiB", "256MiB", "100MiB", "1B", "128", "0B", "-1M", "", "1GiB"])
def test_another_window_is_refused_in_one_line(window: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_window(window, "--window")
    assert "\n" not in str(caught.value)
