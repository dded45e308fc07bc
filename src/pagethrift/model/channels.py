"""Compressed channels: QEMU's multifd channels with zstd, from the relay to an unmodified destination."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

CHANNELS = 2
"""two compress 0.4 GB/s of pages on two cores, and hold two windows of older pages"""
CHANNELS_MAX = 16
"""each takes about 140 MiB here and 130 MiB at the destination"""
WINDOW_LOG = 27
"""128 MiB, the largest that QEMU's decoder takes"""
WINDOW_LOG_MIN = 20
LEVEL = 1


class Compress(StrEnum):
    """Whether pages travel compressed."""

    OFF = "off"
    AUTO = "auto"
    """as many as the processor manages without the link running dry"""
    ON = "on"
    """all, even where that slows a fast link down"""


class SyncMode(Enum):
    """Which mark on main waits for a SYNC of each channel, at the destination."""

    ROUND = "MULTIFD_FLUSH"
    """QEMU 8.1 and later with a machine type of 8.1 or later"""
    SECTION = "the end of each section of RAM"
    """QEMU before 8.1, and machine types up to 8.0"""


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """What relay and destination agree on, and how the relay compresses."""

    channels: int = CHANNELS
    uuid: bytes = bytes(16)
    """of the guest, 16 bytes; zeros for a QEMU without -uuid"""
    compress: Compress = Compress.AUTO
    level: int = LEVEL
    window_log: int = WINDOW_LOG
    long_distance: bool = True
    """look for matches in the whole window"""

    @property
    def window_bytes(self) -> int:
        """How far back in a channel's pages a match may lie."""
        return 1 << self.window_log
