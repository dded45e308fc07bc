"""QEMU's dirty bitmap and dirty log, step by step."""

from __future__ import annotations

import numpy as np

from pagethrift.simulator.virtual_guest import VirtualGuest
from pagethrift.simulator.virtual_source import VirtualSource
from tests.unit.simulator.guests import PAGES, trace_of


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


def test_the_first_round_is_every_page_that_can_be_written() -> None:
    trace = trace_of((1.0, 3, 9, 4))
    trace.content[[1, 2]] = [-1, 0]
    guest = VirtualGuest(trace)
    guest.run_to(1.0)
    source = source_of(guest)
    assert (source.remaining, source.synced_guest_s) == (5, 1.0)
    assert not guest.log.any(), "what was written before is in the first round anyway"
    assert source.take(2, 0.0).page.tolist() == [0, 2]
    assert source.remaining == 3
    assert source.take(100, 0.0).page.tolist() == [3, 4, 5]
    assert source.remaining == 0
    assert len(source.take(1, 0.0)) == 0


def test_only_what_is_newly_dirty_counts_at_a_sync() -> None:
    guest = VirtualGuest(trace_of((1.0, 0, 9, 1), (1.0, 5, 9, 1)))
    source = source_of(guest)
    source.take(3, 0.0)
    guest.run_to(2.0)
    assert source.sync() == 1, "page 5 waits from the first round"
    assert (source.remaining, source.synced_guest_s) == (4, 2.0)
    assert source.take(4, 0.0).page.tolist() == [3, 4, 5, 0]


def test_a_chunks_first_page_clears_that_chunk_alone() -> None:
    guest = VirtualGuest(trace_of(*((1.0, page, 9, 1) for page in range(PAGES))))
    source = source_of(guest, chunk_pages=4)
    source.take(PAGES, 0.0)
    guest.run_to(2.0)
    source.sync()
    source.take(1, 0.0)
    assert guest.log.astype(bool).tolist() == [False] * 4 + [True] * 2
    source.take(4, 0.0)
    assert not guest.log.any()
