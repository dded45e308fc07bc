"""The options of one simulated migration."""

from __future__ import annotations

from dataclasses import dataclass

from pagethrift.errors import UsageError
from pagethrift.model.channels import (
    CHANNELS,
    CHANNELS_MAX,
    COMPRESSOR_BPS,
    WINDOW_LOG,
    WINDOW_LOG_MIN,
    ChannelSettings,
    Compress,
)
from pagethrift.model.defaults import DOWNTIME_LIMIT_S, RELAY_BUFFER_S, relay_buffer_bytes
from pagethrift.simulator.virtual_link import LinkSpec
from pagethrift.simulator.virtual_source import CHUNK_PAGES
from pagethrift.strategies.base import Strategy

GO_DELAY_S = 0.05
"""the planner's question and its answer over QMP: 24 to 62 ms measured from the beginning of a round to
the guest's STOP on a fast link; QEMU ends its section first"""
BUFFER_S = RELAY_BUFFER_S / 2
"""seconds of link that a relay has taken and not sent: twice as many are allowed, but reached only at times;
half fits the downtimes of live runs better (docs/studies.md)"""
SOCKET_BYTES = 1.25e6
"""bytes not yet sent of a QEMU without a relay: its kernel's send buffer and the queue of the link; fits
the downtimes of live runs on links of 100, 200 and 400 Mbit/s (docs/studies.md)"""
SECTION_S = 0.05
"""QEMU ends a section of RAM after 50 ms (ram.c, MAX_WAIT)"""
SYNC_S = 0.001
"""time to read the dirty log of a gigabyte; it also keeps a round without pages from taking no time"""
SOURCE_BPS = 1.2e9
"""how fast QEMU and the relay pass on pages with content: one core each"""
ZERO_BPS = 8e9
"""how fast QEMU passes over zero pages: its migration thread took 0.07 to 0.12 CPU seconds for 1 GiB
of which a quarter was content"""
FAR_SHARE = 0.93
"""a page that is not in the window, of what zstd makes of it alone: fits the first passes of two live guests
over two channels; 0.86 to 0.95 fit captured ones over one (docs/simulator.md)"""
NEAR_SHARE = 0.7
"""changes to a page that is in the window, of their byte-exact delta (docs/simulator.md)"""


def buffer_bytes(link_bps: float, scale: float, seconds: float = RELAY_BUFFER_S) -> float:
    """Return how many bytes may wait in the relay; bandwidth and result are divided by ``scale``."""
    return relay_buffer_bytes(link_bps * scale, seconds) / scale


@dataclass(frozen=True, slots=True)
class SimulateOptions:
    """All settings of one virtual migration except the trace and the strategy."""

    link: LinkSpec
    downtime_limit_s: float = DOWNTIME_LIMIT_S
    force_after_s: float | None = None
    """switch over at this virtual time even if the predicted downtime is above the limit"""
    give_up_s: float = 3600.0
    """virtual time after which the migration counts as failed"""
    as_live: bool = False
    """other systems' strategies run as the relay would, not as those systems define them"""
    go_delay_s: float = GO_DELAY_S
    chunk_pages: int = CHUNK_PAGES
    """pages of the dirty log that are cleared at once; 0: all at each sync"""
    source_bps: float = SOURCE_BPS
    warm_up_s: float = 0.0
    """guest time played before the migration begins"""
    compress: Compress = Compress.AUTO
    """send pages compressed, if the strategy may"""
    channels: int = CHANNELS
    window_log: int = WINDOW_LOG
    """how far back in a channel the compressor looks, as a power of two"""
    compressor_bps: float = COMPRESSOR_BPS
    """pages that the compressor of one channel manages"""
    far_share: float = FAR_SHARE
    near_share: float = NEAR_SHARE
    scale: float = 1.0
    """how many pages of the guest each page with content of the trace stands for. The link's bandwidth and
    the bytes of the result are the guest's divided by this; rates and buffers of hosts are divided here"""

    @property
    def scaled_chunk_pages(self) -> int:
        """Pages of the trace whose dirty log is cleared at once; 0: all of it."""
        return max(1, round(self.chunk_pages / self.scale)) if self.chunk_pages else 0

    def check(self) -> None:
        """Raise UsageError for impossible options."""
        self.link.check()
        if not self.downtime_limit_s > 0:
            raise UsageError("the downtime limit must be positive, e.g. 300ms")
        if not self.give_up_s > 0 or self.warm_up_s < 0 or self.go_delay_s < 0 or self.source_bps <= 0:
            raise UsageError("simulation times and rates must not be negative")
        if not 1 <= self.channels <= CHANNELS_MAX:
            raise UsageError(f"{self.channels} channels: choose 1 to {CHANNELS_MAX}")
        if not WINDOW_LOG_MIN <= self.window_log <= WINDOW_LOG:
            raise UsageError(
                f"a window of 2^{self.window_log} bytes: choose 2^{WINDOW_LOG_MIN} to 2^{WINDOW_LOG}"
            )
        if not self.scale >= 1:
            raise UsageError(f"a scale of {self.scale:g}: a trace stands for a guest of its size or larger")
        if not (self.compressor_bps > 0 and self.far_share > 0 and self.near_share > 0):
            raise UsageError("the compressor's speed and shares must be positive")

    def channel_settings(self, strategy: Strategy) -> ChannelSettings | None:
        """Return the compressed channels of a strategy's migration; None: its pages travel plain."""
        if self.compress is Compress.OFF or not strategy.compresses or strategy.refuses_live:
            return None
        return ChannelSettings(self.channels, compress=self.compress, window_log=self.window_log)
