"""A cap on the link: what it lets through, and that it is measured as a link of that rate."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque

import pytest

from pagethrift.errors import LinkError, PagethriftError
from pagethrift.relay.outlet import Outlet
from pagethrift.relay.pace import Pace
from pagethrift.relay.writing import Writing
from tests.unit.relay.channel_ends import Ends, ends, eventually

CAP_BPS = 4_000_000.0


def test_without_a_cap_nobody_waits() -> None:
    pace = Pace()
    pace.wrote(1 << 40, 10.0)
    assert pace.delay_s(10.0) == 0
    assert not pace.busy


def test_writes_wait_until_the_cap_has_carried_those_before() -> None:
    pace = Pace()
    pace.set(1000.0)
    pace.wrote(500, 10.0)
    assert pace.delay_s(10.0) == pytest.approx(0.5)
    pace.wrote(500, 10.0)
    assert pace.delay_s(10.25) == pytest.approx(0.75)
    assert pace.delay_s(11.5) == 0, "and what was not used is not saved up"
    pace.wrote(100, 20.0)
    assert pace.delay_s(20.0) == pytest.approx(0.1)
    pace.set(0)
    assert pace.delay_s(20.0) == 0


def swallow(pair: Ends, stop: threading.Event) -> threading.Thread:
    def read() -> None:
        (end,) = pair.far
        end.settimeout(0.05)
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                end.recv(1 << 20)

    thread = threading.Thread(target=read)
    thread.start()
    return thread


@pytest.mark.slow
def test_the_link_gets_no_more_than_the_cap_and_is_believed_to_be_that_fast() -> None:
    """Over a socket that takes everything at once, a cap set while it runs, then lifted."""
    pace, stop = Pace(), threading.Event()
    with ends(1, 1 << 20) as pair:
        reader = swallow(pair, stop)
        outlet = Outlet(pair.near[0], 5.0, lambda error: None, pace=pace)
        try:
            send(outlet, 0.3)
            assert outlet.rate.bps > 5 * CAP_BPS
            outlet.cap(CAP_BPS)
            assert outlet.rate.bps == CAP_BPS, (
                "at once: QEMU and the planner are not to wait for a measurement"
            )
            before, began_s = outlet.sent_bytes, time.monotonic()
            send(outlet, 1.5)
            rate = (outlet.sent_bytes - before) / (time.monotonic() - began_s)
            assert 0.6 * CAP_BPS < rate < 1.15 * CAP_BPS
            assert outlet.rate.bps == pytest.approx(CAP_BPS, rel=0.3)
            assert time.monotonic() - outlet.rate.full_s < 0.6, "a capped link counts as full"
            outlet.cap(0)
            send(outlet, 0.6)
            assert outlet.rate.bps > 3 * CAP_BPS
        finally:
            outlet.abandon()
            stop.set()
            reader.join(5)


def send(outlet: Outlet, seconds: float) -> None:
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        output = outlet.take()
        output.append(bytes(100_000))
        outlet.put(output)


def test_all_writers_share_the_cap() -> None:
    writing = Writing(5.0, lambda error: None)
    writing.pace.set(1_000_000)
    began_s = time.monotonic()
    with ends(2, 1 << 20) as pair:
        writers = [
            threading.Thread(
                target=writing.write,
                args=(near, deque([memoryview(bytes(150_000))]), lambda count, now_s: None),
            )
            for near in pair.near
        ]
        for each in writers:
            each.start()
            each.join()
        writing.write(pair.near[0], deque([memoryview(b"x")]), lambda count, now_s: None)
    assert time.monotonic() - began_s >= 0.28


def test_a_pause_is_no_stall_and_an_error_ends_it() -> None:
    said: list[PagethriftError] = []
    writing = Writing(0.1, said.append)
    writing.pace.set(100_000)
    with ends(1, 1 << 20) as pair:
        pieces = deque([memoryview(bytes(40_000)), memoryview(b"end")])
        writing.write(
            pair.near[0], pieces, lambda count, now_s: None
        )  # 0.4 s between the two, 0.1 s is a stall
        writing.pace.set(1)
        writing.pace.wrote(1000, time.monotonic())

        def fail() -> None:
            writing.write(pair.near[0], deque([memoryview(b"never")]), lambda count, now_s: None)

        waiting = threading.Thread(target=lambda: writing.guard(fail))
        waiting.start()
        assert eventually(waiting.is_alive)
        writing.give_up(LinkError("over"))
        waiting.join(1)
        assert not waiting.is_alive()
