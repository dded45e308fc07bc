"""The compressed channels of a simulated relay: what packets take, and when they are full.

The engine's own `Lanes` chooses, by its running means. What a page really takes comes from the trace alone,
never from those means, and is what they learn from: as live, where a compressor tells it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pagethrift.engine.counters import Counters
from pagethrift.engine.lanes import Lanes
from pagethrift.engine.sync_point import FLUSH
from pagethrift.model.channels import QUICK_WINDOW_LOG, ChannelSettings
from pagethrift.model.pages import F64, I32, I64, PAGE_BYTES, U8, U32, U64
from pagethrift.simulator.channel_kernels import Open, compress_pages, keep_places
from pagethrift.simulator.virtual_guest import Snapshot
from pagethrift.stream.packets import HEADER_BYTES, PACKET_PAGES
from pagethrift.trace.read import Trace

UNKNOWN_SHARE = 0.5
"""of sparse bytes, for traces without samples of zstd: pages that are only read have 0.48 to 0.53 on ten of
the eleven shipped traces"""
_FIRST_SLOTS = 1 << 16


@dataclass(frozen=True, slots=True)
class VirtualPacket:
    """What a channel is to write next."""

    channel: int
    pages: int
    """0: a SYNC"""
    size_bytes: int
    quick: bool = False
    """of a quick frame"""


class VirtualChannels:
    """The packets of one migration, in order."""

    def __init__(
        self,
        settings: ChannelSettings,
        trace: Trace,
        lanes: Lanes,
        counters: Counters,
        far_share: float,
        near_share: float,
        scale: float = 1.0,
    ) -> None:
        """``far_share``: of what zstd makes of a page alone; ``near_share``: of byte-exact deltas.

        ``scale``: pages of the guest for each page of the trace; a packet has so many fewer.
        """
        self.jobs: list[VirtualPacket] = []
        """for the channels' writers"""
        self.lanes = lanes
        self._counters = counters
        quiet = trace.quiet_zstd_share or trace.written_zstd_share or UNKNOWN_SHARE
        self._shares: F64 = np.full(trace.pages, far_share * quiet)
        self._shares[trace.writes.page[trace.writes.changed > 0]] = far_share * (
            trace.written_zstd_share or quiet
        )
        self._near_share = near_share
        self._scale = scale
        self._packet_pages = max(1, round(PACKET_PAGES / scale))
        self._header_bytes = -(-HEADER_BYTES * self._packet_pages // PACKET_PAGES)
        self._window_log = settings.window_log
        self._quick = False
        """of the frames that the channels are in"""
        self._given: I64 = np.zeros(settings.channels, np.int64)
        self._copied_at: I64 = np.zeros(trace.pages, np.int64)
        self._since_mask: U32 = np.zeros(trace.pages, np.uint32)
        self._since_delta: I32 = np.zeros(trace.pages, np.int32)
        self._keys: U64 = np.zeros(_FIRST_SLOTS, np.uint64)
        self._places: I64 = np.zeros(_FIRST_SLOTS, np.int64)
        self._used = 0
        self._packets: I64 = np.zeros((settings.channels, len(Open)), np.int64)
        self._packets[:, Open.CHANNEL] = np.arange(settings.channels)

    @property
    def open_bytes(self) -> int:
        """Bytes of the packets that are not full yet."""
        return int(self._packets[:, Open.TAKEN].sum())

    def add(self, pages: Snapshot, methods: U8, sizes: I32) -> None:
        """Note a batch; in ``sizes``, what pages with method CHANNEL take replaces what was estimated."""
        if self.lanes.quick != self._quick:
            self._begin_frames()
        self._make_room(self.lanes.mark(pages.page, methods))
        closed: I64 = np.zeros((len(pages) // self._packet_pages + len(self._given), len(Open)), np.int64)
        full, added = compress_pages(
            pages.page, pages.content, pages.sparse, pages.mask, pages.delta, methods, self.lanes.near,
            self._shares, self._near_share, self._window_pages(), self._given, self._copied_at,
            self._since_mask, self._since_delta, self._keys, self._places, sizes, self._packets, closed,
            self._packet_pages, self._header_bytes,
        )  # fmt: skip
        self._used += added
        for packet in closed[:full]:
            self._close(packet)

    def flush(self) -> None:
        """Give every page so far to its channel's writer."""
        for packet in self._packets:
            if packet[Open.PAGES]:
                self._close(packet)
                packet[: Open.CHANNEL] = 0

    def sync(self) -> int:
        """Let every channel write a SYNC; return the bytes of the mark on main."""
        self.flush()
        self.jobs += [VirtualPacket(channel, 0, HEADER_BYTES) for channel in range(len(self._given))]
        self.lanes.next_epoch()
        return len(FLUSH)

    def end_section(self, last: bool) -> int:
        """Sync where the thinner would, else flush; return the bytes on main."""
        if last or self.lanes.bound_pages:
            return self.sync()
        self.flush()
        return 0

    def take_jobs(self) -> list[VirtualPacket]:
        """Return the packets since the last call."""
        jobs, self.jobs = self.jobs, []
        return jobs

    def _window_pages(self) -> int:
        whole = (1 << self._window_log) // PAGE_BYTES
        quick = max(1, int((1 << QUICK_WINDOW_LOG) / self._scale) // PAGE_BYTES)
        return min(whole, quick) if self._quick else whole

    def _begin_frames(self) -> None:
        """Forget what the channels carried: live, a channel's next packet ends its frame."""
        self.flush()
        self._quick = self.lanes.quick
        for channel in range(len(self._given)):
            self.lanes.begin_frame(channel)
        self._copied_at[:] = 0
        self._keys[:] = 0
        self._used = 0

    def _close(self, packet: I64) -> None:
        pages, near, far, taken, channel = map(int, packet)
        self.jobs.append(VirtualPacket(channel, pages, taken, self._quick))
        self.lanes.learn(near, far, taken)
        self._counters.channel_bytes += taken

    def _make_room(self, pages: int) -> None:
        slots = len(self._keys)
        while 2 * (self._used + pages) > len(self._keys):
            fresh: U64 = np.zeros(slots, np.uint64)
            fresh_places: I64 = np.zeros(slots, np.int64)
            self._used = keep_places(
                self._keys, self._places, self._given, self._window_pages(), fresh, fresh_places
            )
            self._keys, self._places = fresh, fresh_places
            slots *= 2
