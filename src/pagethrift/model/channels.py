"""Compressed channels: QEMU's multifd channels with zstd, from the relay to an unmodified destination."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from pagethrift.errors import UsageError
from pagethrift.units import parse_size

CHANNELS = 2
"""two compress 0.4 GB/s of pages on two cores, and hold two windows of older pages"""
CHANNELS_MAX = 16
"""each takes about 140 MiB here and 130 MiB at the destination"""
WINDOW_LOG = 27
"""128 MiB, the largest that QEMU's decoder takes"""
WINDOW_LOG_MIN = 20
LEVEL = 1
COMPRESSOR_BPS = 190e6
"""bytes of pages a second that a channel compresses on one processor, with level 1, a window of 128 MiB and
long-distance matching: 171 to 204 MB/s measured on the first passes of five guests"""
QUICK_BPS = 400e6
"""the same of a quick frame"""
QUICK_WINDOW_LOG = 20
"""1 MiB: a quick frame looks no farther back than a processor's cache reaches"""
SLOWEST_SHARE = 0.5
"""of COMPRESSOR_BPS: a busy moment makes a compressor look slower, and costs no window"""
HURRIED_SHARE, UNHURRIED_SHARE = 0.3, 0.2
"""of what compressors with the whole window manage: a fast link that takes more begins the hurry, one that
takes less ends it; on processors that they share with the guest they would then slow everything down"""
BACKLOG_PACKETS = 2
"""waiting on one channel: its compressor is behind"""
BACKLOG_S = 0.05
"""of compressing may wait while pages can go plain instead: half of what may wait for the link"""
HUNGRY_SHARE, PATIENT_SHARE = 0.125, 0.03
"""of what may wait: with less than that to send, a fast link may soon run dry, and a slow one; there a batch
of plain pages takes ten times as long as the packet that it does not wait for"""
WARM_UP_PACKETS = 8
"""of a frame, which say nothing of its speed: the compressor touches its memory for the first time"""


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


def parse_window(window: str, name: str) -> int:
    """Return the binary logarithm of a window, a power of two that QEMU accepts.

    ``name``: of the option that gave it. Raises UsageError.
    """
    size = parse_size(window)
    log = size.bit_length() - 1
    if size != 1 << log or not WINDOW_LOG_MIN <= log <= WINDOW_LOG:
        least, most = (f"{1 << each >> 20}MiB" for each in (WINDOW_LOG_MIN, WINDOW_LOG))
        raise UsageError(f"{name} {window}: choose a power of two from {least} to {most}")
    return log
