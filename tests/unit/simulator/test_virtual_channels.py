"""Packets, syncs and running means of a simulated relay's channels."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pagethrift.engine.counters import Counters
from pagethrift.engine.lanes import Lanes
from pagethrift.engine.sync_point import FLUSH
from pagethrift.model.channels import ChannelSettings
from pagethrift.model.methods import Method
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.simulator.channel_kernels import SAME_BYTES
from pagethrift.simulator.virtual_channels import UNKNOWN_SHARE, VirtualChannels, VirtualPacket
from pagethrift.simulator.virtual_guest import Snapshot
from pagethrift.stream.packets import HEADER_BYTES, PACKET_PAGES
from pagethrift.trace.read import Trace
from tests.traces import made

FAR, NEAR = 0.9, 0.7


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    return made(tmp_path)


def channels_of(trace: Trace, settings: ChannelSettings | None = None) -> VirtualChannels:
    settings = settings or ChannelSettings()
    lanes = Lanes(settings, trace.pages, 256)
    return VirtualChannels(settings, trace, lanes, Counters(), FAR, NEAR)


def batch(pages: Any, content: Any, sparse: int = 4096, mask: int = 0xFFFF) -> Snapshot:
    n = len(pages)
    return Snapshot(
        pages.astype(np.int64), content.astype(np.int64), np.full(n, sparse, np.uint16),
        np.full(n, mask, np.uint32), np.full(n, 300, np.int32), np.zeros(n),
    )  # fmt: skip


def add(channels: VirtualChannels, pages: Snapshot, estimate: int = 2000) -> Any:
    sizes = np.full(len(pages), estimate, np.int32)
    channels.lanes.near = np.zeros(max(1, len(pages)), np.uint8)
    channels.add(pages, np.full(len(pages), Method.CHANNEL, np.uint8), sizes)
    return sizes


def test_full_packets_go_and_the_rest_waits_for_the_section(trace: Trace) -> None:
    channels = channels_of(trace, ChannelSettings(1))
    sizes = add(channels, batch(np.arange(300), 10_000 + np.arange(300)))
    full = channels.take_jobs()
    assert [(job.channel, job.pages) for job in full] == [(0, PACKET_PAGES)] * 2
    assert channels.open_bytes == sizes[256:].sum()
    assert channels.end_section(last=False) == 0
    (rest,) = channels.take_jobs()
    assert rest.pages == 300 - 256
    assert sum(job.size_bytes for job in [*full, rest]) == sizes.sum()
    assert channels.open_bytes == 0
    assert channels.take_jobs() == []


def test_a_page_that_wants_the_other_lane_is_synced_at_the_sections_end(trace: Trace) -> None:
    channels = channels_of(trace)
    add(channels, batch(np.arange(3), np.arange(3) + 9))
    channels.lanes.bound_pages = 1
    epoch = channels.lanes.epoch
    assert channels.end_section(last=False) == len(FLUSH)
    assert channels.take_jobs()[-2:] == [VirtualPacket(channel, 0, HEADER_BYTES) for channel in (0, 1)]
    assert channels.lanes.epoch == epoch + 1
    assert channels.end_section(last=False) == 0
    assert channels.end_section(last=True) == len(FLUSH)


def test_shares_come_from_the_trace(trace: Trace) -> None:
    written = int(trace.writes.page[trace.writes.changed > 0][0])
    quiet = next(page for page in range(trace.pages) if page not in set(trace.writes.page.tolist()))
    measured = replace(trace, quiet_zstd_share=0.4, written_zstd_share=0.8)
    unknown = replace(trace, quiet_zstd_share=None, written_zstd_share=None)
    for guest, page, share in (
        (measured, written, 0.8), (measured, quiet, 0.4), (unknown, written, UNKNOWN_SHARE),
    ):  # fmt: skip
        (size,) = add(channels_of(guest), batch(np.array([page]), np.array([10**6]), 4000))
        assert size - HEADER_BYTES == int(4000 * FAR * share)


def test_a_content_sent_for_another_page_costs_nearly_nothing_while_it_is_in_the_window(trace: Trace) -> None:
    channels = channels_of(trace, ChannelSettings(1, window_log=20))
    window_pages = (1 << 20) // PAGE_BYTES
    add(channels, batch(np.array([5]), np.array([77_777])))
    (same,) = add(channels, batch(np.array([6]), np.array([77_777])))
    assert same == SAME_BYTES
    add(channels, batch(np.arange(100, 100 + window_pages), np.arange(window_pages) + 10**5))
    channels.flush()
    (forgotten,) = add(channels, batch(np.array([7]), np.array([77_777])))
    assert forgotten > 1000


def test_the_hash_table_grows_and_forgets(trace: Trace) -> None:
    channels = channels_of(trace, ChannelSettings(2, window_log=20))
    for number in range(200):
        pages = np.arange(1000)
        add(channels, batch(pages, 10**6 + 1000 * number + pages))
    assert len(channels._keys) == 1 << 16, "contents beyond the window make room"
    wide = channels_of(trace)
    for number in range(200):
        add(wide, batch(np.arange(1000), 10**6 + 1000 * number + np.arange(1000)))
    assert len(wide._keys) >= 1 << 17


def test_the_running_means_follow_the_trace_and_do_not_drift(trace: Trace) -> None:
    """Whatever they were, they come to what pages take; and they stay there."""
    found = []
    for start in (20.0, 500.0, 4000.0):
        channels = channels_of(trace, ChannelSettings(1, window_log=20))
        lanes, rng, number = channels.lanes, random.Random(1), 0
        lanes.far_bytes = start
        means = []
        for _ in range(300):
            pages = np.array(sorted(rng.sample(range(trace.pages), 512)))
            number += 512
            add(channels, batch(pages, 10**6 + number + pages), int(lanes.far_bytes))
            means.append(lanes.far_bytes)
        truth = sum(job.size_bytes for job in channels.jobs) / (300 * 512)
        assert np.mean(means[200:]) == pytest.approx(truth, rel=0.03)
        found.append(means[-1])
        assert max(means[200:]) < 1.1 * min(means[200:])
    assert max(found) < 1.02 * min(found)
