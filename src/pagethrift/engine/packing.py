"""Packing: gathers pages into packets, and puts packets and SYNCs in order for each channel."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from pagethrift.engine.counters import Counters
from pagethrift.engine.lanes import Lanes
from pagethrift.model.channels import ChannelSettings
from pagethrift.model.pages import I32, U8, BlockTable, Kind, PageBatch
from pagethrift.stream.encoding.head import block_of
from pagethrift.stream.encoding.packet import Estimate, Packet, gather_pages


@dataclass(frozen=True, slots=True)
class Job:
    """What a channel is to write next: a packet of pages, or with None a SYNC."""

    channel: int
    packet: Packet | None
    sync: int = 0
    """the number of a SYNC, from 1"""


class Packing:
    """The packets of all channels. ``taken`` may be called by any thread, the rest by the thinner's."""

    def __init__(
        self, settings: ChannelSettings, table: BlockTable, lanes: Lanes, counters: Counters
    ) -> None:
        self.jobs: deque[Job] = deque()
        """for the channels' writers, in order"""
        self.syncs = 0
        """SYNCs so far"""
        self.long_pages_per_s = 0.0
        """set by the caller: what compressors with the whole window manage; 0: frames stay as they are"""
        self._table = table
        self._lanes = lanes
        self._counters = counters
        self._quick: list[bool | None] = [None] * settings.channels
        """of each channel's frame; None: none has begun"""
        self._open: list[Packet] = [Packet() for _ in range(settings.channels)]
        self._spare: deque[Packet] = deque()
        self._queued_again = 0
        self._taken: deque[tuple[Packet, int]] = deque()

    @property
    def waiting_again_bytes(self) -> int:
        """Estimated bytes of pages that were forwarded again and whose packets are not counted yet."""
        return self._queued_again + sum(packet.estimate(Estimate.AGAIN) for packet in self._open)

    @property
    def lane_wanted(self) -> bool:
        """Whether a page was bound to its lane since the last sync."""
        return self._lanes.bound_pages > 0

    def is_in_channel(self, batch: PageBatch) -> bool:
        """Whether a delta of the source's must wait for what its page's channel carries."""
        return self._lanes.in_channel(batch.page[batch.kind == Kind.XBZRLE])

    @property
    def open_bytes(self) -> int:
        """Estimated bytes of the packets that are not full yet."""
        return sum(packet.estimated_bytes for packet in self._open if packet.count)

    def add(self, batch: PageBatch, methods: U8, sizes: I32, again: U8) -> None:
        """Copy a batch's pages with method CHANNEL into packets; ``again``: they were forwarded before."""
        pages, firsts, channels = batch.page, self._table.first_pages, len(self._open)
        for channel in range(channels):
            start = 0
            while True:
                packet = self._open[channel]
                start, packet.count = gather_pages(
                    batch.buffer, batch.position, batch.kind, pages, methods, sizes, self._lanes.near, again,
                    start, channel, channels, packet.first_page, packet.end_page,
                    packet.data, packet.head, packet.count, packet.estimates,
                )  # fmt: skip
                if start == len(pages):
                    break
                self._close(channel)
                block = block_of(int(pages[start]), -1, firsts)
                self._open[channel].begin(self._table.blocks[block])

    def flush(self) -> None:
        """Give every page so far to its channel's writer."""
        for channel in range(len(self._open)):
            self._close(channel)

    def sync(self) -> int:
        """Let every channel write a SYNC after the pages so far; return its number."""
        self.flush()
        self.syncs += 1
        self.jobs.extend(Job(channel, None, self.syncs) for channel in range(len(self._open)))
        self._lanes.next_epoch()
        return self.syncs

    def taken(self, packet: Packet, taken_bytes: int) -> None:
        """Say how many bytes a packet took on the link; the packet is given back."""
        self._taken.append((packet, taken_bytes))

    def settle(self, link_bps: float) -> None:
        """Count the bytes of packets, which are known by now; choose the frames for those to come."""
        while self._taken:
            packet, taken_bytes = self._taken.popleft()
            near, far, again = (packet.estimate(each) for each in Estimate)
            self._queued_again -= again
            self._counters.account_packet(taken_bytes, again / max(1, near + far))
            self._lanes.learn(near, far, taken_bytes)
            self._spare.append(packet)
        if self.long_pages_per_s:
            self._lanes.weigh(link_bps, self.long_pages_per_s)

    def _close(self, channel: int) -> None:
        packet, quick = self._open[channel], self._lanes.quick
        if packet.count:
            self._queued_again += packet.estimate(Estimate.AGAIN)
            frame = self._quick[channel]
            packet.quick = quick if frame is None else frame
            if packet.quick != quick:
                packet.ends_frame = True
                self._lanes.begin_frame(channel)
            self._quick[channel] = quick
            self.jobs.append(Job(channel, packet))
            self._open[channel] = self._spare.popleft() if self._spare else Packet()
            self._open[channel].clear()
