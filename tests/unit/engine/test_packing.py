"""Packing: which pages share a packet, in what order a channel gets packets and SYNCs, what is counted."""

from __future__ import annotations

import numpy as np
import pytest

from pagethrift.engine.counters import Count, Counters
from pagethrift.engine.lanes import Lanes
from pagethrift.engine.packing import Packing
from pagethrift.model.channels import ChannelSettings
from pagethrift.model.methods import Method
from pagethrift.model.pages import PAGE_BYTES, BlockTable, Kind, PageBatch
from pagethrift.stream.encoding.packet import Estimate, Packet
from pagethrift.stream.packets import HEADER_BYTES, NAME_AT, OFFSETS_AT, PACKET_PAGES

RAM, ROM = 1000, 64
TABLE = BlockTable.of([(b"pc.ram", RAM * PAGE_BYTES), (b"pc.rom", ROM * PAGE_BYTES)])


class Bench:
    """A packing with what it works on."""

    def __init__(self, channels: int = 1) -> None:
        settings = ChannelSettings(channels=channels)
        self.lanes, self.counters = Lanes(settings, TABLE.total_pages, 256), Counters()
        self.packing = Packing(settings, TABLE, self.lanes, self.counters)

    def add(
        self, pages: list[int], methods: list[Method] | None = None, zero: bool = False, again: int = 0
    ) -> None:
        """Add pages, each with content of its own; of a ``zero`` page no content was kept."""
        count = len(pages)
        buffer = np.repeat(np.array(pages, np.int64) % 251 + 1, PAGE_BYTES).astype(np.uint8)
        batch = PageBatch(
            np.array(pages, np.int64), np.full(count, Kind.ZERO if zero else Kind.PAGE, np.uint8),
            np.arange(count) * PAGE_BYTES, np.full(count, PAGE_BYTES, np.int32), buffer,
        )  # fmt: skip
        if len(self.lanes.near) < count:
            self.lanes.near = np.zeros(count, np.uint8)
        self.packing.add(
            batch, np.array(methods or [Method.CHANNEL] * count, np.uint8), np.full(count, 100, np.int32),
            np.full(count, again, np.uint8),
        )  # fmt: skip

    def packets(self, channel: int = 0) -> list[Packet]:
        return [job.packet for job in self.packing.jobs if job.channel == channel and job.packet]


def offsets(packet: Packet) -> list[int]:
    return [int(each) for each in packet.head[OFFSETS_AT:].view(">u8")[: packet.count]]


def name(packet: Packet) -> bytes:
    return packet.head[NAME_AT:OFFSETS_AT].tobytes().rstrip(b"\0")


def first_bytes(packet: Packet) -> list[int]:
    return [int(each) for each in packet.data[: packet.count * PAGE_BYTES : PAGE_BYTES]]


def test_pages_wait_for_their_packet_to_be_full() -> None:
    bench = Bench()
    bench.add(list(range(PACKET_PAGES)))
    assert not bench.packing.jobs
    assert bench.packing.open_bytes == HEADER_BYTES + PACKET_PAGES * 100
    bench.add([500])
    (packet,) = bench.packets()
    assert packet.count == PACKET_PAGES
    assert offsets(packet) == [PAGE_BYTES * page for page in range(PACKET_PAGES)]
    assert first_bytes(packet) == [page % 251 + 1 for page in range(PACKET_PAGES)]
    assert bench.packing.open_bytes == HEADER_BYTES + 100


def test_another_kind_of_frame_begins_behind_a_channels_next_packet() -> None:
    bench = Bench(2)
    bench.lanes.quick = True
    bench.add([*range(128), 500])
    bench.packing.flush()
    bench.lanes.quick = False
    bench.packing.flush()
    assert len(bench.packing.jobs) == 2, "no page, no packet"
    bench.add(list(range(128)))
    bench.add(list(range(256, 384)))
    bench.packing.flush()
    frames = [(packet.quick, packet.ends_frame) for packet in bench.packets(0)]
    assert frames == [(True, False), (True, True), (False, False)]
    assert [(packet.quick, packet.ends_frame) for packet in bench.packets(1)] == [(True, False)]


def test_frames_follow_the_link_once_the_compressors_are_known() -> None:
    bench = Bench()
    bench.packing.settle(1e9)
    assert not bench.lanes.quick
    bench.packing.long_pages_per_s = 50e3
    bench.packing.settle(1e9)
    assert bench.lanes.quick


def test_one_batch_may_fill_several_packets() -> None:
    bench = Bench()
    bench.add(list(range(3 * PACKET_PAGES + 5)))
    bench.packing.flush()
    assert [packet.count for packet in bench.packets()] == [PACKET_PAGES] * 3 + [5]


def test_a_packet_has_pages_of_one_block() -> None:
    bench = Bench()
    bench.add([1, 2, RAM, RAM + 63, 3])
    bench.packing.flush()
    assert [name(packet) for packet in bench.packets()] == [b"pc.ram", b"pc.rom", b"pc.ram"]
    assert [offsets(packet) for packet in bench.packets()] == [[4096, 8192], [0, 63 * 4096], [3 * 4096]]


def test_only_pages_for_a_channel_are_packed_and_zeros_are_written_out() -> None:
    bench = Bench()
    bench.add([1, 2, 3], [Method.FULL, Method.CHANNEL, Method.SKIP])
    bench.add([4], zero=True)
    bench.packing.flush()
    (packet,) = bench.packets()
    assert offsets(packet) == [2 * 4096, 4 * 4096]
    assert first_bytes(packet) == [3, 0]
    assert not packet.data[PAGE_BYTES : 2 * PAGE_BYTES].any()


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_page_always_takes_the_same_channel_and_a_run_of_128_shares_one(channels: int) -> None:
    bench = Bench(channels)
    for _ in range(2):
        bench.add(list(range(RAM)))
        bench.packing.flush()
    for channel in range(channels):
        found = [offset >> 12 for packet in bench.packets(channel) for offset in offsets(packet)]
        expected = [page for page in range(RAM) if (page // 128) % channels == channel]
        assert found == 2 * expected


def test_a_sync_goes_to_every_channel_after_the_pages_so_far() -> None:
    bench = Bench(2)
    bench.add([0, 1])
    assert bench.packing.sync() == 1
    assert [(job.channel, job.packet is not None, job.sync) for job in bench.packing.jobs] == [
        (0, True, 0), (0, False, 1), (1, False, 1),
    ]  # fmt: skip
    assert bench.lanes.epoch == 2
    assert bench.packing.sync() == bench.packing.syncs == 2


def test_flushing_nothing_makes_no_packet_and_no_epoch() -> None:
    bench = Bench(2)
    bench.packing.flush()
    assert not bench.packing.jobs
    assert bench.lanes.epoch == 1
    assert bench.packing.open_bytes == 0


def test_a_packet_that_was_taken_is_used_again_and_carries_nothing_over() -> None:
    bench = Bench()
    bench.add([RAM, RAM + 1])
    bench.packing.flush()
    (used,) = bench.packets()
    bench.packing.jobs.clear()
    bench.packing.taken(used, 1500)
    bench.add([7])
    bench.packing.flush()
    assert bench.packets()[0] is not used, "not before it is settled"
    bench.packing.settle(0.0)
    bench.add([8])
    bench.packing.flush()
    bench.add([9])
    bench.packing.flush()
    again = bench.packets()[-1]
    assert again is used
    assert (again.count, name(again), offsets(again), first_bytes(again)) == (1, b"pc.ram", [9 * 4096], [10])
    assert again.head[NAME_AT + 6 : OFFSETS_AT].sum() == 0
    assert again.head[OFFSETS_AT + 8 :].sum() == 0
    assert again.estimated_bytes == HEADER_BYTES + 100


def test_a_packet_is_counted_with_what_it_took() -> None:
    bench = Bench()
    bench.lanes.near = np.array([1, 0, 0], np.uint8)
    bench.add([1, 2, 3], again=0)
    bench.add([4], again=1)
    bench.packing.flush()
    (packet,) = bench.packets()
    assert [packet.estimate(each) for each in Estimate] == [200, 200, 100]
    bench.packing.taken(packet, 800)
    assert bench.counters.channel_bytes == 0
    bench.packing.settle(0.0)
    assert bench.counters.channel_bytes == 800
    assert bench.counters.of(Count.FIRST_ROUND_BYTES) == 600
    assert bench.counters.of(Count.RETRANSFERRED_BYTES) == 200
    assert bench.lanes.far_bytes > 2048


def test_deltas_of_the_sources_wait_for_their_pages_channel() -> None:
    bench = Bench()

    def delta_of(page: int, kind: Kind) -> PageBatch:
        return PageBatch(
            np.array([page]), np.array([kind], np.uint8), np.zeros(1, np.int64), np.ones(1, np.int32),
            np.zeros(9, np.uint8),
        )  # fmt: skip

    bench.lanes.mark(np.array([5]), np.array([Method.CHANNEL], np.uint8))
    assert bench.packing.is_in_channel(delta_of(5, Kind.XBZRLE))
    assert not bench.packing.is_in_channel(delta_of(5, Kind.PAGE))
    assert not bench.packing.is_in_channel(delta_of(6, Kind.XBZRLE))
    bench.packing.sync()
    assert not bench.packing.is_in_channel(delta_of(5, Kind.XBZRLE))
