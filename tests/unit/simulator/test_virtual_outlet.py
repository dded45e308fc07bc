"""Compressors and the link on one clock."""

from __future__ import annotations

import pytest

from pagethrift.model.defaults import RELAY_BUFFER_S, relay_buffer_bytes
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.simulator.simulate_options import BUFFER_S
from pagethrift.simulator.virtual_channels import VirtualPacket
from pagethrift.simulator.virtual_link import LinkSpec, VirtualLink
from pagethrift.simulator.virtual_outlet import VirtualOutlet

PACKET_S = 0.01
SPEED_BPS = 128 * PAGE_BYTES / PACKET_S


def outlet(bandwidth_bps: float, channels: int = 1, may_send_plain: bool = True) -> VirtualOutlet:
    return VirtualOutlet(VirtualLink(LinkSpec(bandwidth_bps)), channels, SPEED_BPS, may_send_plain)


def packets(count: int, size_bytes: int = 100_000, channel: int = 0) -> list[VirtualPacket]:
    return [VirtualPacket(channel, 128, size_bytes)] * count


def test_a_packet_is_on_the_link_once_it_is_compressed() -> None:
    link = VirtualLink(LinkSpec(1e7))
    out = VirtualOutlet(link, 1, SPEED_BPS, True)
    out.put(0, packets(2), 0.0)
    assert (link.sent_bytes, out.unsent_bytes(0.0)) == (0, 200_000)
    assert out.unsent_bytes(0.015) == pytest.approx(200_000 - 0.005 * 1e7, abs=1)
    assert link.sent_bytes == 100_000
    out.put(1000, [], 0.015)
    assert link.free_s == pytest.approx(0.01 + 101_000 / 1e7), "main does not wait for the compressor"
    assert out.finish(0.015) == pytest.approx(0.02)
    assert link.sent_bytes == 201_000


def test_channels_compress_side_by_side() -> None:
    one, two = outlet(1e9), outlet(1e9, channels=2)
    one.put(0, packets(4), 0.0)
    two.put(0, packets(2) + packets(2, channel=1), 0.0)
    assert one.finish(0.0) == pytest.approx(4 * PACKET_S)
    assert two.finish(0.0) == pytest.approx(2 * PACKET_S)


def test_a_sync_takes_its_place_in_the_channel() -> None:
    link = VirtualLink(LinkSpec(1e9))
    out = VirtualOutlet(link, 1, SPEED_BPS, True)
    out.put(0, [*packets(1), VirtualPacket(0, 0, 1344)], 0.0)
    assert link.sent_bytes == 0
    assert out.finish(0.0) == pytest.approx(PACKET_S)
    assert link.sent_bytes == 101_344


def test_the_queue_counts_in_unsent_bytes() -> None:
    """On a slow link QEMU waits until what is unsent, compressed or not, is within the bound."""
    rate_bps = 1e7
    out = outlet(rate_bps)
    bound_bytes = relay_buffer_bytes(rate_bps, BUFFER_S)
    out.put(300_000, packets(8), 0.0)
    free_s = out.free_s(0.0)
    assert free_s == pytest.approx((1_100_000 - bound_bytes) / rate_bps, rel=1e-3)
    assert out.unsent_bytes(free_s) <= bound_bytes
    assert out.unsent_bytes(free_s - 0.001) > bound_bytes


def test_a_link_that_runs_dry_gets_plain_pages() -> None:
    fast = outlet(5e7)
    assert fast.compressing(0.0)
    fast.put(0, packets(4), 0.0)
    assert not fast.compressing(0.0), "packets wait, and the link has nothing"
    assert fast.free_s(0.0) == 0.0
    fast.put(8_000_000, [], 0.0)
    assert fast.compressing(0.0)
    demanded = outlet(5e7, may_send_plain=False)
    demanded.put(0, packets(60), 0.0)
    assert demanded.compressing(0.0)
    assert demanded.free_s(0.0) > PACKET_S


def test_what_waits_for_compressors_is_bounded_in_their_time() -> None:
    """Bytes on the link do not tell."""
    busy = outlet(5e7)
    busy.put(8_000_000, packets(4), 0.0)
    assert busy.compressing(0.0)
    busy.put(0, packets(4), 0.0)
    assert not busy.compressing(0.0)
    assert busy.compressor_pages_per_s == 0
    demanded = outlet(1e12, may_send_plain=False)
    demanded.put(0, packets(200), 0.0)
    owed_s = 200 * PACKET_S / len(demanded._free_s)
    assert demanded.free_s(0.0) == pytest.approx(owed_s - RELAY_BUFFER_S, rel=0.01)
    assert demanded.compressor_pages_per_s > 0


def test_a_link_much_faster_than_the_compressor_gets_plain_pages() -> None:
    speed_bps = SPEED_BPS / 2
    assert outlet(1.9 * speed_bps).compressing(0.0)
    assert not outlet(2.1 * speed_bps).compressing(0.0)
    assert outlet(2.1 * speed_bps, channels=2).compressing(0.0)


def test_waiting_ends_on_a_link_that_stops_for_a_while() -> None:
    link = VirtualLink(LinkSpec(1e7, steps=((0.01, 0.0), (5.0, 1e7))))
    out = VirtualOutlet(link, 1, SPEED_BPS, False)
    out.put(1_000_000, packets(10), 0.0)
    assert 5.0 < out.free_s(0.02) < 5.3
