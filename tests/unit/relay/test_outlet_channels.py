"""The outlet with compressed channels: order at syncs, one bound over all sockets, the valve."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from pagethrift.engine.packing import Job
from pagethrift.errors import LinkError, PagethriftError
from pagethrift.model.channels import BACKLOG_PACKETS, BACKLOG_S, HUNGRY_SHARE, PATIENT_SHARE
from pagethrift.model.defaults import FAST_BPS, RELAY_BUFFER_S
from pagethrift.relay.channel_sender import compressor_bps
from pagethrift.relay.outlet import FRESH_S, Outlet
from pagethrift.stream.packets import HEADER_BYTES
from tests.unit.relay.channel_ends import Ends, encoders, ends, eventually, packet_of


class Bench:
    """An outlet with two channels, and its destination's ends."""

    def __init__(self, pair: Ends, stall_timeout_s: float, bps: float, plain: bool) -> None:
        self.errors: list[PagethriftError] = []
        self.pair = pair
        self.outlet = Outlet(
            pair.near[0], stall_timeout_s, self.errors.append, bps,
            list(zip(pair.near[1:], encoders(2), strict=True)), may_send_plain=plain,
        )  # fmt: skip

    def put(self, *written: bytes | int, jobs: tuple[Job, ...] = ()) -> None:
        """Queue an output: bytes, and for numbers the marks of SYNCs."""
        output = self.outlet.take()
        for each in written:
            if isinstance(each, int):
                output.mark_sync(each)
            else:
                output.append(each)
        self.outlet.put(output, jobs)


@contextlib.contextmanager
def outlet(
    buffer_bytes: int = 4096, stall_timeout_s: float = 5.0, bps: float = 0.0, plain: bool = True
) -> Iterator[Bench]:
    with ends(3, buffer_bytes) as pair:
        bench = Bench(pair, stall_timeout_s, bps, plain)
        yield bench
        bench.outlet.abandon()
        for thread in (bench.outlet._thread, *(each._thread for each in bench.outlet.channels)):
            thread.join(3)
            assert not thread.is_alive()


def syncs(number: int) -> tuple[Job, ...]:
    return tuple(Job(channel, None, number) for channel in range(2))


def test_main_goes_on_after_a_mark_only_when_every_channel_has_written_its_sync() -> None:
    with outlet() as bench:
        bench.put(b"before", 1, b"after", jobs=(Job(1, packet_of()), *syncs(1)))
        assert bench.pair.read(0) == b"before"
        assert len(bench.pair.read(1)) == HEADER_BYTES, "channel 0 is there already"
        assert [channel.synced for channel in bench.outlet.channels] == [1, 0], "channel 1 is blocked"
        assert bench.pair.read(0) == b""
        assert len(bench.pair.read(2)) > HEADER_BYTES + 128 * 4096
        assert bench.pair.read(0) == b"after"
        assert bench.outlet.channels[1].synced == 1


def test_each_mark_waits_for_its_own_sync() -> None:
    with outlet() as bench:
        bench.put(b"a", 1, b"b", 2, b"c", 3, jobs=(*syncs(1), Job(0, packet_of()), *syncs(2)))
        bench.put(b"d")
        assert bench.pair.read(0) == b"ab"
        bench.pair.read(2)
        assert bench.pair.read(0) == b""
        bench.pair.read(1)
        assert bench.pair.read(0) == b"c"
        bench.put(jobs=syncs(3))
        assert bench.pair.read(0) == b"d"


def test_bytes_without_a_mark_do_not_wait_for_channels() -> None:
    with outlet() as bench:
        bench.put(b"main", jobs=(Job(0, packet_of()), Job(1, packet_of())))
        assert bench.pair.read(0) == b"main"


def test_what_is_unsent_adds_up_over_all_sockets() -> None:
    with outlet() as bench:
        bench.put(bytes(100_000), jobs=(Job(0, packet_of()), Job(1, packet_of()), Job(1, packet_of())))
        out = bench.outlet
        assert eventually(lambda: all(channel.ready_bytes for channel in out.channels))
        assert out.channels[1].estimated_bytes == HEADER_BYTES + 1000
        made = 100_000 + 2 * 128 * 4096 + HEADER_BYTES + 1000
        assert made <= out.unsent_bytes <= made + 30_000, "with the kernel's part, whose overhead it counts"
        assert not any(out.drained(number) for number in range(2))
        wire = sum(len(bench.pair.read(number)) for number in (0, 1, 2))
        wire += sum(len(bench.pair.read(number)) for number in (0, 1, 2))
        assert out.unsent_bytes == 0
        assert all(out.drained(number) for number in range(2))
        assert out.sent_bytes == wire


def test_the_bound_is_over_main_and_channels_together() -> None:
    """1 MiB may wait: what waits on channels leaves no room for main."""
    with outlet(plain=False) as bench:
        bench.put(jobs=(Job(0, packet_of()),))
        bench.put(jobs=(Job(1, packet_of()),))
        assert eventually(lambda: sum(each.ready_bytes for each in bench.outlet.channels) > 900_000)
        took = threading.Event()

        def take() -> None:
            with contextlib.suppress(LinkError):
                bench.outlet.take()
                took.set()

        threading.Thread(target=take, daemon=True).start()
        assert not took.wait(0.7)
        bench.pair.read(1)
        bench.pair.read(2)
        assert took.wait(2)


def test_finishing_waits_for_channels_and_then_tells_main_that_no_more_comes() -> None:
    with outlet() as bench:
        bench.put(b"x", 1, b"y", jobs=(Job(0, packet_of()), *syncs(1)))
        finishing = threading.Thread(target=bench.outlet.finish, daemon=True)
        finishing.start()
        finishing.join(0.3)
        assert finishing.is_alive()
        bench.pair.read(1)
        finishing.join(3)
        assert not finishing.is_alive()
        assert bench.pair.read(0) == b"xy"
        assert bench.pair.far[0].recv(1) == b"", "its end"
        bench.pair.read(2)
        with pytest.raises(TimeoutError):
            bench.pair.far[2].recv(1)


def test_a_channel_that_takes_nothing_fails_main_too_which_waits_for_its_sync() -> None:
    with outlet(stall_timeout_s=0.5) as bench:
        bench.put(b"x", 1, b"y", jobs=(Job(0, packet_of()), *syncs(1)))
        bench.pair.read(0)
        assert eventually(lambda: bench.errors)
        with pytest.raises(LinkError, match="has taken nothing"):
            bench.outlet.finish()
        assert len(bench.errors) == 1
        assert bench.pair.read(0) == b""


def test_a_channel_that_breaks_ends_a_take_that_waits() -> None:
    with outlet(plain=False) as bench:
        bench.put(jobs=(Job(0, packet_of()), Job(1, packet_of())))
        assert eventually(lambda: sum(each.ready_bytes for each in bench.outlet.channels) > 900_000)
        threading.Timer(0.2, bench.pair.far[2].close).start()
        began_s = time.monotonic()
        with pytest.raises(LinkError, match="the destination closed multifd channel 1 "):
            bench.outlet.take()
        assert time.monotonic() - began_s < 3


def set_waiting(bench: Bench, *waiting: int) -> None:
    for channel, count in zip(bench.outlet.channels, waiting, strict=True):
        channel.waiting = count


def test_pages_go_plain_while_the_link_would_run_dry_before_the_compressor() -> None:
    with outlet(bps=1e7) as bench:
        assert bench.outlet.compressing()
        set_waiting(bench, BACKLOG_PACKETS - 1, BACKLOG_PACKETS - 1)
        assert bench.outlet.compressing(), "the compressors are idle soon"
        set_waiting(bench, BACKLOG_PACKETS, 0)
        assert not bench.outlet.compressing(), "hot pages may all belong to one channel"
        set_waiting(bench, BACKLOG_PACKETS, BACKLOG_PACKETS)
        assert not bench.outlet.compressing()
        bench.outlet.channels[0].ready_bytes = 1 << 18
        assert bench.outlet.compressing(), "there is enough to send meanwhile"


def test_what_waits_for_compressors_is_bounded_in_their_time() -> None:
    """Bytes on the link do not tell: a page that is nearly as before takes 30 of them, and 20 µs."""
    with outlet(bps=1e8) as bench:
        out, channel = bench.outlet, bench.outlet.channels[1]
        channel.ready_bytes = 1 << 23
        channel.pages_per_s = 10_000
        channel.waiting_pages = int(10_000 * BACKLOG_S)
        assert out.compressing()
        channel.waiting_pages += 1
        assert not out.compressing()
        channel.ready_bytes = 0
        assert not out._full(), "pages go plain"
        channel.waiting_pages = int(10_000 * RELAY_BUFFER_S) + 1
        assert out._full(), "pages that are bound to their channel go nowhere else"
        assert out.compressor_pages_per_s == 0
    with outlet(bps=1e8, plain=False) as bench:
        for each in bench.outlet.channels:
            each.pages_per_s = 10_000
        assert bench.outlet.compressor_pages_per_s == 20_000
        bench.outlet.channels[0].waiting_pages = int(10_000 * RELAY_BUFFER_S) + 1
        assert bench.outlet.compressing()
        assert bench.outlet._full()


def test_nothing_is_measured_during_a_switchover() -> None:
    with outlet(bps=1e7) as bench:
        out = bench.outlet
        out.rate.full_s = time.monotonic() - FRESH_S - 1
        set_waiting(bench, BACKLOG_PACKETS, BACKLOG_PACKETS)
        assert not out.compressing()
        set_waiting(bench, 0, 0)
        out.go()
        assert out.compressing(), "a measurement that has begun ends"
        set_waiting(bench, BACKLOG_PACKETS, BACKLOG_PACKETS)
        assert not out.compressing()
        set_waiting(bench, 0, 0)
        assert out.compressing(), "and none begins"


def test_room_that_only_the_kernel_makes_is_looked_for_often() -> None:
    """A Unix socket's queue counts more than its bytes, and nobody tells when it becomes less."""
    with outlet() as bench:
        assert not bench.outlet._waiting()
        bench.put(bytes(1 << 20))
        assert bench.outlet._waiting(), "the writer will tell"
        bench.pair.read(0)
        assert eventually(lambda: not bench.outlet._waiting())
        bench.put(jobs=(Job(1, packet_of()),))
        assert bench.outlet._waiting()


def test_a_full_queue_of_packets_does_not_keep_a_hungry_link_from_plain_pages() -> None:
    with outlet() as bench:
        for channel in bench.outlet.channels:
            channel.estimated_bytes = 1 << 20
        assert bench.outlet._full()
        set_waiting(bench, BACKLOG_PACKETS, BACKLOG_PACKETS)
        assert not bench.outlet._full()


def test_a_link_that_carries_pages_faster_than_they_are_compressed_gets_plain_ones() -> None:
    with outlet(bps=1e9) as bench:
        assert not bench.outlet.compressing(), "a guess of the compressors' speed, until they have worked"
        for channel in bench.outlet.channels:
            channel.pages_per_s = 1e9 / 4096 / 2 + 1000
        assert bench.outlet.compressing()
    with outlet(bps=125e6) as bench:
        for channel in bench.outlet.channels:
            channel.pages_per_s = 100.0
        assert bench.outlet.compressing(), "a busy moment does not keep pages from them for ever"


def test_a_first_look_that_shows_a_fast_link_is_not_enough() -> None:
    with outlet() as bench:
        rate = bench.outlet.rate
        rate.known, rate.bps = True, compressor_bps(bench.outlet.channels) * 0.45
        assert bench.outlet.compressing()
        rate.bps *= 1.3
        assert not bench.outlet.compressing()
        rate.full_s = time.monotonic()
        assert bench.outlet.compressing()


def test_until_the_rate_is_known_pages_go_plain() -> None:
    with outlet() as bench:
        assert not bench.outlet.compressing()
        bench.outlet.rate.bps = 1e7
        assert not bench.outlet.compressing(), "of so few bytes that it says nothing"
        bench.outlet.rate.known = True
        assert bench.outlet.compressing()


@pytest.mark.parametrize(("bps", "made", "plain"), [
    (1e7, PATIENT_SHARE * 0.9, True), (1e7, PATIENT_SHARE * 1.1, False),
    (FAST_BPS, HUNGRY_SHARE * 0.9, True), (FAST_BPS, HUNGRY_SHARE * 1.1, False),
])  # fmt: skip
def test_a_slow_link_waits_longer_for_its_compressors(bps: float, made: float, plain: bool) -> None:
    with outlet(bps=bps) as bench:
        set_waiting(bench, BACKLOG_PACKETS, BACKLOG_PACKETS)
        bench.outlet.channels[0].ready_bytes = int(made * bench.outlet.rate.bound_bytes)
        assert bench.outlet.compressing() is not plain


def test_a_link_that_only_the_compressor_fed_is_measured_with_plain_pages() -> None:
    with outlet(bps=1e7) as bench:
        out = bench.outlet
        out.rate.full_s = time.monotonic() - FRESH_S - 1
        assert out.compressing()
        set_waiting(bench, BACKLOG_PACKETS, BACKLOG_PACKETS)
        assert not out.compressing()
        set_waiting(bench, 0, 0)
        assert not out.compressing(), "until a whole window was measured"
        out._exploring_until_s = time.monotonic()
        assert out.compressing(), "some links are never full"
        set_waiting(bench, BACKLOG_PACKETS, BACKLOG_PACKETS)
        assert not out.compressing()
        set_waiting(bench, 0, 0)
        assert not out.compressing()
        out.rate.full_s = time.monotonic()
        assert out.compressing(), "that is what was to be seen"


def test_who_wants_everything_compressed_gets_it() -> None:
    with outlet(bps=1e9, plain=False) as bench:
        set_waiting(bench, 9, 9)
        for channel in bench.outlet.channels:
            channel.pages_per_s = 1.0
            channel.estimated_bytes = 1 << 30
        assert bench.outlet.compressing()
        assert bench.outlet._full()
