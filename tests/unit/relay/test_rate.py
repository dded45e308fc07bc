"""The rate of the link over all its connections."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from pagethrift.model.defaults import FAST_BPS
from pagethrift.relay.connection import Connection
from pagethrift.relay.rate import UNKNOWN_BUFFER_BYTES, LinkRate


@dataclass
class Wire:
    """A connection that says what a test wants."""

    sent_bytes: int = 0
    left_bytes: int = 0
    bounds: list[int] = field(default_factory=list)

    def unacknowledged_bytes(self) -> int:
        return self.left_bytes

    def bound_unsent(self, most_bytes: int) -> None:
        self.bounds.append(most_bytes)


def measured(*wires: Wire, bps: float = 0.0) -> LinkRate:
    connections: list[Connection] = list(wires)  # type: ignore[arg-type]
    return LinkRate(connections, 10.0, bps)


def test_the_rate_is_what_all_connections_drain() -> None:
    first, second = Wire(), Wire()
    rate = measured(first, second)
    rate.measure(10.21, busy=True)
    first.sent_bytes, first.left_bytes = 3_000_000, 1_000_000
    second.sent_bytes = 500_000
    rate.measure(10.46, busy=True)
    assert rate.bps == pytest.approx((2_000_000 + 500_000) / 0.25)
    assert first.bounds[-1] == rate.bound_bytes // 2 // 2, "each has its share of what may wait"


def test_a_link_that_ran_dry_says_only_that_it_is_no_slower() -> None:
    wire = Wire()
    rate = measured(wire, bps=1e6)
    rate.measure(10.3, busy=True)
    wire.sent_bytes = 30_000
    rate.measure(10.6, busy=False)
    assert rate.bps == 1e6
    wire.sent_bytes += 600_000
    rate.measure(10.9, busy=False)
    assert rate.bps == pytest.approx(2e6)


def test_a_slower_link_is_believed_step_by_step() -> None:
    wire = Wire(left_bytes=100_000)
    rate = measured(wire, bps=10e6)
    rate.measure(10.3, busy=True)
    drained = wire.sent_bytes - wire.left_bytes
    for step in range(1, 20):
        wire.sent_bytes = drained + wire.left_bytes + step * 300_000
        rate.measure(10.3 + 0.3 * step, busy=True)
    assert rate.bps == pytest.approx(1e6, rel=0.05)


def test_windows_are_not_shorter_than_the_kernel_needs() -> None:
    wire = Wire(sent_bytes=5_000_000)
    rate = measured(wire, bps=1e6)
    rate.measure(10.1, busy=True)
    assert rate.bps == 1e6


def test_a_link_that_was_unknown_is_looked_at_sooner() -> None:
    wire = Wire(sent_bytes=5_000_000, left_bytes=1_000_000)
    rate = measured(wire)
    rate.measure(10.019, busy=True)
    assert not rate.known
    rate.measure(10.04, busy=True)
    assert rate.bps == pytest.approx(4_000_000 / 0.04)
    assert rate.known
    wire.sent_bytes = 6_000_000
    rate.measure(10.25, busy=True)
    assert rate.bps == pytest.approx(5_000_000 / 0.25), "the first whole window counts alone"
    assert rate.full_s == 10.25


def test_what_pages_go_plain_for_is_seen_in_a_short_window() -> None:
    wire = Wire()
    rate = measured(wire, bps=1e6)
    wire.sent_bytes, wire.left_bytes = 9_000_000, 1_000_000
    rate.explore(11.0, 11.4)
    rate.measure(11.04, busy=True)
    assert rate.full_s == 10.0
    rate.measure(11.06, busy=False)
    assert rate.full_s == 10.0, "it ran dry"
    wire.sent_bytes += 5_000_000
    rate.measure(11.12, busy=True)
    assert rate.full_s == 11.12
    assert rate.bps == pytest.approx(5_000_000 / 0.06), "what was believed before counts no more"
    rate.measure(11.19, busy=True)
    assert rate.full_s == 11.12, "the next windows are whole ones"


def test_windows_are_whole_again_when_an_exploration_saw_nothing() -> None:
    wire = Wire()
    rate = measured(wire, bps=1e6)
    rate.explore(11.0, 11.4)
    rate.measure(11.39, busy=False)
    wire.sent_bytes, wire.left_bytes = 9_000_000, 1_000_000
    rate.measure(11.45, busy=True)
    assert rate.bps == 1e6
    rate.measure(11.6, busy=True)
    assert rate.full_s == 11.6


def test_a_link_that_has_been_idle_is_not_looked_at_sooner() -> None:
    wire = Wire(sent_bytes=5_000_000, left_bytes=1_000_000)
    rate = measured(wire)
    rate.measure(10.01, busy=False)
    rate.measure(10.04, busy=True)
    assert not rate.known


def test_a_few_bytes_do_not_make_a_link_known() -> None:
    """QEMU's header goes out long before RAM does."""
    wire = Wire()
    rate = measured(wire)
    rate.measure(10.5, busy=False)
    wire.sent_bytes = 1344
    rate.measure(11.0, busy=False)
    assert rate.bps == pytest.approx(2688), "for a guest that has no more to send"
    assert not rate.known
    assert not rate.full_s
    wire.sent_bytes += 1 << 20
    rate.measure(11.5, busy=False)
    assert rate.known


def test_a_capped_link_counts_as_full_although_nothing_waits_in_its_sockets() -> None:
    wire = Wire()
    rate = measured(wire, bps=10e6)
    rate.capped(1e6, 10.0)
    assert (rate.bps, rate.full_s) == (1e6, 10.0)
    assert wire.bounds[-1] == rate.bound_bytes // 2
    for step in range(1, 20):
        wire.sent_bytes += 150_000
        rate.measure(10.0 + 0.3 * step, busy=True, paced=True)
    assert rate.bps == pytest.approx(0.5e6, rel=0.05)
    assert rate.full_s == pytest.approx(15.7)
    rate.capped(2e6, 16.0)
    assert rate.bps == pytest.approx(0.5e6, rel=0.05), "a cap above the link's rate says nothing of it"
    rate.capped(0, 16.0)
    assert rate.known


def test_what_may_wait() -> None:
    assert measured(Wire()).bound_bytes == UNKNOWN_BUFFER_BYTES
    assert measured(Wire(), bps=12.5e6).bound_bytes == 1_250_000
    assert measured(Wire(), bps=1.0).bound_bytes == 256 << 10
    assert measured(Wire(), bps=1e12).bound_bytes == 8 << 20
    assert measured(Wire()).fast
    assert measured(Wire(), bps=FAST_BPS).fast
    assert not measured(Wire(), bps=FAST_BPS - 1).fast
