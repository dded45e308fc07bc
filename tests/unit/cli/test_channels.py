"""The options for compressed channels: what they mean, and what contradicts itself."""

from __future__ import annotations

import uuid

import pytest

from pagethrift.cli.channels import DEFAULT_WINDOW, channel_settings
from pagethrift.errors import UsageError
from pagethrift.model.channels import CHANNELS_MAX, ChannelSettings, Compress

GUEST = "2c7d9b1e-0f3a-4a56-9c0e-0123456789ab"


def test_the_options_become_settings() -> None:
    found = channel_settings(4, Compress.ON, "1MiB", GUEST)
    assert found == ChannelSettings(4, uuid.UUID(GUEST).bytes, Compress.ON, window_log=20)
    assert found is not None
    assert found.window_bytes == 1 << 20
    assert channel_settings(1, Compress.AUTO, DEFAULT_WINDOW, "") == ChannelSettings(1)


@pytest.mark.parametrize("compress", [Compress.AUTO, Compress.OFF])
def test_a_plain_destination_has_no_channels(compress: Compress) -> None:
    assert channel_settings(0, compress, DEFAULT_WINDOW, "") is None


@pytest.mark.parametrize(
    ("channels", "compress", "window", "guest", "says"),
    [
        (-1, Compress.AUTO, "1M", "", "--channels -1: choose 1 to 16, or 0"),
        (CHANNELS_MAX + 1, Compress.AUTO, "1M", "", "choose 1 to 16"),
        (2, Compress.OFF, "1M", "", "--channels 2: .* not with --compress off"),
        (0, Compress.ON, "1M", "", "--compress on: .*--channels"),
        (2, Compress.AUTO, "1M", "vm7", "--guest-uuid vm7: not a UUID"),
        (0, Compress.AUTO, "3M", "", "--window 3M: choose a power of two from 1MiB to 128MiB"),
    ],
)
def test_what_contradicts_itself(
    channels: int, compress: Compress, window: str, guest: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        channel_settings(channels, compress, window, guest)


def test_the_most_channels_are_taken() -> None:
    found = channel_settings(CHANNELS_MAX, Compress.AUTO, "1M", "")
    assert found is not None
    assert found.channels == CHANNELS_MAX
