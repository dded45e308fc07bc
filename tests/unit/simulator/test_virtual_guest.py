"""The played guest, step by step."""

from __future__ import annotations

import numpy as np

from pagethrift.simulator.virtual_guest import Snapshot, VirtualGuest
from tests.unit.simulator.guests import PAGES, trace_of


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


def read(guest: VirtualGuest, pages: int, position: int, step_s: float) -> Snapshot:
    """Read so many pages, each dirty, whatever QEMU's log says."""
    room = Snapshot.room(pages)
    guest.read_pages(np.ones(PAGES, np.uint8), position, 0, np.zeros(1, np.uint8), step_s, room)
    return room


def test_writes_up_to_a_moment_are_those_at_it_too() -> None:
    guest = VirtualGuest(trace_of((1.0, 2, 9, 4)))
    guest.run_to(1.0)
    assert guest.content[2] == 9
    guest.run_to(0.5)
    assert guest.now_s == 1.0


def test_reading_goes_on_in_the_traces_next_loop_and_past_the_last_page() -> None:
    guest = VirtualGuest(trace_of((0.5, 5, 9, 4), (1.5, 0, 8, 4), duration_s=2.0))
    found = read(guest, 3, 5, 1.25)
    assert found.page.tolist() == [5, 0, 1]
    assert found.guest_s.tolist() == [0.0, 1.25, 2.5]
    assert found.content.tolist() == [6, 1, 2]
    assert guest.content[[5, 0]].tolist() == [9 | 1 << 32, 8], "written at 2.5 s, by the second loop"
    assert guest.position() == (1, 2.0)
    assert guest.written_s[5] == 2.5


def test_what_changed_counts_from_the_last_reading_on() -> None:
    guest = VirtualGuest(trace_of((1.0, 2, 9, 4), (2.0, 2, 10, 8), (3.0, 2, 11, 1)))
    guest.run_to(2.0)
    first = read(guest, 1, 2, 0.0)
    guest.run_to(3.0)
    second = read(guest, 1, 2, 0.0)
    assert (first.mask.tolist(), first.delta.tolist()) == ([12], [60])
    assert (second.mask.tolist(), second.delta.tolist()) == ([1], [30])
    assert second.part(0, 1).content.tolist() == [11]
    assert len(second.part(1, 1)) == 0
