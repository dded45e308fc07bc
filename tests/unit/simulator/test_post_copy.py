"""The guest moves first: when it runs again, and which of its writes wait for a page."""

from __future__ import annotations

import numpy as np
import pytest

from pagethrift.engine.decisions import Moment
from pagethrift.simulator.post_copy import FAULT_S, PostCopyEnd, run_post_copy
from pagethrift.simulator.virtual_guest import VirtualGuest
from pagethrift.simulator.virtual_link import LinkSpec, VirtualLink
from pagethrift.simulator.virtual_relay import VirtualRelay
from pagethrift.simulator.virtual_source import VirtualSource
from pagethrift.strategies.stop.prediction import DEVICE_STATE_BYTES, FIXED_DOWNTIME_S
from pagethrift.strategies.table import strategy
from pagethrift.stream.encoding.full import FULL_BYTES
from tests.unit.simulator.guests import PAGES, trace_of

BANDWIDTH_BPS = float(FULL_BYTES)
"""a page a second"""
DEVICE_S = DEVICE_STATE_BYTES / BANDWIDTH_BPS


def post_copy(
    *writes: tuple[float, int],
    delay_s: float = 0.0,
    read_s: float = 0.0,
    now_s: float = 0.0,
    left: int = PAGES,
) -> tuple[PostCopyEnd, VirtualLink]:
    """Move a guest that writes (seconds after it runs again, page); its last ``left`` pages are not sent."""
    guest = VirtualGuest(trace_of(*((1.0 + at, page, 9, 1) for at, page in writes), duration_s=100.0))
    guest.run_to(1.0)
    bitmap = VirtualSource(guest, np.zeros(PAGES, np.uint8))
    bitmap.take(PAGES - left, 0.0)
    link = VirtualLink(LinkSpec(BANDWIDTH_BPS, delay_s))
    relay = VirtualRelay(strategy("kvm-post-copy"), guest, bitmap.bitmap, as_defined=False)
    end = run_post_copy(
        guest, bitmap, relay, link, now_s, Moment(now_s, 0, BANDWIDTH_BPS, 0.3, True),
        lambda pages: len(pages) * read_s,
    )  # fmt: skip
    assert bitmap.remaining == 0
    return end, link


def test_only_the_device_state_is_downtime() -> None:
    end, link = post_copy(now_s=5.0)
    assert end.downtime_s == pytest.approx(DEVICE_S + FIXED_DOWNTIME_S)
    assert end.total_s == pytest.approx(5.0 + DEVICE_S + PAGES)
    assert link.sent_bytes == DEVICE_STATE_BYTES + PAGES * FULL_BYTES
    assert (end.faults, end.stalled_s) == (0, 0.0)


def test_a_guest_that_has_moved_already_ends_when_it_runs() -> None:
    end, _ = post_copy(left=0, delay_s=0.25)
    assert end.downtime_s == pytest.approx(DEVICE_S + 0.25 + FIXED_DOWNTIME_S)
    assert end.total_s == pytest.approx(end.downtime_s + 0.25)


def test_a_write_to_a_page_that_has_not_come_waits_for_a_round_trip() -> None:
    # page p comes p + 1 s after the device state; the guest runs 0.03 s after it
    end, _ = post_copy((0.5, 5), (2.5, 0), (4.5, 3))
    assert end.faults == 1
    assert end.stalled_s == pytest.approx(FAULT_S + 1.0)
    far, _ = post_copy((0.5, 5), delay_s=0.25)
    assert far.stalled_s == pytest.approx(FAULT_S + 2 * 0.25 + 1.0)
    assert "1 write faults stalled the guest for 1.0 s" in end.note


def test_a_slow_source_delays_every_page() -> None:
    end, _ = post_copy((5.5, 3), read_s=2.0)
    assert end.total_s == pytest.approx(DEVICE_S + 2.0 * PAGES)
    assert end.faults == 1
    assert post_copy((5.5, 3))[0].faults == 0
