"""The played guest and QEMU's dirty log, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np

from pagethrift.simulator.virtual_guest import VirtualGuest
from pagethrift.simulator.virtual_source import VirtualSource
from pagethrift.trace.format import TraceHeader
from pagethrift.trace.read import Trace, Writes

PAGES = 6


def trace_of(*writes: tuple[float, int, int, int], duration_s: float = 10.0) -> Trace:
    """A guest of six pages that hold 1..6; writes: (time, page, content, changed)."""
    columns: list[Any] = list(zip(*writes, strict=True)) if writes else [[], [], [], []]
    n = len(writes)
    return Trace(
        TraceHeader(PAGES * 4096, (("pc.ram", PAGES * 4096),), 0.1),
        "made",
        np.arange(1, PAGES + 1, dtype=np.int32),
        np.full(PAGES, 4096, np.uint16),
        None,
        None,
        Writes(
            np.array(columns[0], np.float64), np.array(columns[1], np.int32), np.array(columns[2], np.int32),
            np.array(columns[3], np.uint16), np.full(n, 30, np.uint16), np.full(n, 4096, np.uint16),
        ),
        duration_s,
    )  # fmt: skip


def source_of(guest: VirtualGuest, chunk_pages: int = 1 << 18) -> VirtualSource:
    return VirtualSource(guest, np.zeros(PAGES, np.uint8), chunk_pages)


def test_a_page_left_out_comes_once_it_is_written() -> None:
    guest = VirtualGuest(trace_of((1.0, 2, 9, 4), (2.0, 0, 8, 4)))
    left_out = np.array([0, 1, 1, 0, 0, 0], np.uint8)
    source = VirtualSource(guest, left_out)
    assert source.take(PAGES, 0.0).page.tolist() == [0, 3, 4, 5]
    guest.run(3.0)
    assert source.sync() == 2
    assert source.take(PAGES, 0.0).page.tolist() == [0, 2]
    assert left_out.tolist() == [0, 1, 0, 0, 0, 0]


def test_writes_come_in_time() -> None:
    guest = VirtualGuest(trace_of((1.0, 2, 9, 4), (2.0, 2, 10, 8), (3.0, 4, 0, 0xFFFF)))
    guest.run(1.5)
    assert guest.content.tolist() == [1, 2, 9, 4, 5, 6]
    guest.run(1.5)
    assert guest.content.tolist() == [1, 2, 10, 4, 0, 6]
    assert guest.since_mask[2] == 12
    assert guest.since_delta[2] == 60
    assert guest.written_s[2] == 2.0
    assert np.flatnonzero(guest.log).tolist() == [2, 4]


def test_a_throttled_guest_writes_later() -> None:
    guest = VirtualGuest(trace_of((1.0, 2, 9, 4)))
    guest.speed = 0.25
    guest.run(3.9)
    assert not guest.log.any()
    guest.run(0.2)
    assert guest.log[2]


def test_a_trace_begins_again_with_other_contents() -> None:
    guest = VirtualGuest(trace_of((1.0, 2, 9, 4), (2.0, 3, 4, 0), (3.0, 4, 0, 0xFFFF)))
    guest.run(10.5)
    assert guest.loops == 1
    before = guest.content.copy()
    guest.run(3.0)
    assert guest.content[2] != before[2]
    assert guest.content[3] == before[3]
    assert guest.content[4] == 0
    guest.run(100.0)
    assert guest.loops == 11


def test_the_log_is_cleared_when_a_chunk_is_first_sent() -> None:
    """Written between clear and own send: sent, and sent again in the next round though unchanged."""
    guest = VirtualGuest(trace_of((1.0, 1, 9, 1), (1.0, 5, 9, 1), (2.5, 5, 10, 1)))
    source = source_of(guest)
    source.take(PAGES, 0.0)
    guest.run_to(2.0)
    assert source.sync() == 2
    first = source.take(1, 0.0)
    assert (first.page.tolist(), guest.log[[1, 5]].tolist()) == ([1], [0, 0])
    guest.run_to(3.0)
    second = source.take(1, 0.0)
    assert (second.page.tolist(), second.content.tolist()) == ([5], [10])
    assert source.sync() == 1
    third = source.take(1, 0.0)
    assert (third.content.tolist(), third.mask.tolist()) == ([10], [0])


def test_written_between_sync_and_clear_is_sent_once() -> None:
    guest = VirtualGuest(trace_of((1.0, 5, 9, 1), (2.5, 5, 10, 1), (2.6, 3, 11, 1)))
    source = source_of(guest)
    source.take(PAGES, 0.0)
    guest.run_to(2.0)
    source.sync()
    guest.run_to(3.0)
    assert source.take(1, 0.0).content.tolist() == [10]
    assert source.sync() == 1
    assert source.take(5, 0.0).page.tolist() == [3]


def test_clearing_at_the_sync_sends_it_twice() -> None:
    guest = VirtualGuest(trace_of((1.0, 5, 9, 1), (2.5, 5, 10, 1)))
    source = source_of(guest, chunk_pages=0)
    source.take(PAGES, 0.0)
    guest.run_to(2.0)
    source.sync()
    guest.run_to(3.0)
    assert source.take(1, 0.0).content.tolist() == [10]
    assert source.sync() == 1


def test_pages_are_read_one_after_the_other_while_the_guest_writes() -> None:
    guest = VirtualGuest(trace_of((0.5, 0, 9, 1), (0.5, 5, 10, 1)))
    source = source_of(guest)
    found = source.take(PAGES, 0.2)
    assert found.content.tolist() == [1, 2, 3, 4, 5, 10]
    assert source.sync() == 2
    assert guest.now_s == 1.0
