"""One channel's thread: what it writes in which order, what it counts, how it ends."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import partial

import pytest
import zstandard

from pagethrift.engine.packing import Job
from pagethrift.errors import LinkError, PagethriftError
from pagethrift.model.channels import COMPRESSOR_BPS, QUICK_BPS, SLOWEST_SHARE, WARM_UP_PACKETS
from pagethrift.relay.channel_sender import ChannelSender, compressor_bps
from pagethrift.relay.writing import Writing
from pagethrift.stream.encoding.packet import Packet
from pagethrift.stream.packets import HEADER_BYTES
from tests.unit.relay.channel_ends import Ends, encoders, ends, eventually, packet_of


@dataclass
class Bench:
    """A sender and what it said."""

    pair: Ends
    errors: list[PagethriftError] = field(default_factory=list)
    took: list[tuple[Packet, int]] = field(default_factory=list)
    measured: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.writing = Writing(1.0, self.errors.append)
        self.sender = ChannelSender(
            self.pair.near[0], encoders(1)[0], self.writing,
            lambda packet, count: self.took.append((packet, count)),
            lambda now_s, busy: self.measured.append(busy),
        )  # fmt: skip

    def put(self, *jobs: Job) -> None:
        with self.writing.lock:
            for job in jobs:
                self.sender.put(job)


def test_a_packet_that_was_begun_is_written_to_its_end_when_the_link_is_given_up() -> None:
    """Half of a packet makes QEMU hang; the packets behind it are not needed any more."""
    with ends(1, 4096) as pair:
        bench = Bench(pair)
        bench.put(Job(0, packet_of(128, 1)), Job(0, packet_of(128, 2)))
        assert eventually(lambda: bench.sender.connection.sent_bytes > 0)
        bench.writing.give_up(LinkError("given up"))
        data = pair.read(0)
        size = int.from_bytes(data[20:24], "big")
        assert len(data) == HEADER_BYTES + size
        bench.sender.wait(3)
        assert not bench.sender._thread.is_alive()


def test_a_compressor_without_memory_is_an_error_of_the_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    with ends(1) as pair:
        bench = Bench(pair)

        def fail(packet: Packet) -> list[bytes]:
            raise MemoryError

        monkeypatch.setattr(bench.sender._encoder, "pages", fail)
        bench.put(Job(0, packet_of(128, 1)))
        assert eventually(lambda: [str(error) for error in bench.errors] == ["out of memory"])
        bench.sender.wait(3)
        assert not bench.sender._thread.is_alive()


def test_packets_and_syncs_go_out_in_their_order_and_are_counted() -> None:
    with ends(1) as pair:
        bench = Bench(pair)
        first, second = packet_of(8, 1), packet_of(3, 2)
        bench.put(Job(0, first), Job(0, None, 1), Job(0, second))
        data = pair.read(0)
        size = int.from_bytes(data[20:24], "big")
        decoder = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
        assert decoder.decompress(data[HEADER_BYTES:][:size]) == bytes(first.data[: 8 * 4096])
        sync = data[HEADER_BYTES + size :][:HEADER_BYTES]
        assert int.from_bytes(sync[8:12], "big") == 1
        assert decoder.decompress(data[3 * HEADER_BYTES + size :]) == bytes(second.data[: 3 * 4096])
        assert bench.sender.synced == 1
        assert [packet for packet, _ in bench.took] == [first, second]
        assert [count for _, count in bench.took] == [
            HEADER_BYTES + size,
            len(data) - 2 * HEADER_BYTES - size,
        ]
        assert (bench.sender.waiting, bench.sender.queued_bytes) == (0, 0)
        assert len(bench.measured) >= 3
        bench.sender.finish()
        assert pair.read(0, 0.05) == b"", "the connection stays open"
        assert bench.errors == []


def test_what_waits_is_estimated_and_then_known_and_a_sync_behind_it_is_not_written() -> None:
    with ends(1, 4096) as pair:
        bench = Bench(pair)
        bench.put(Job(0, packet_of()), Job(0, None, 1), Job(0, packet_of()), Job(0, packet_of()))
        estimated = HEADER_BYTES + 1000
        assert eventually(lambda: bench.sender.ready_bytes > 0)
        assert bench.sender.waiting == 2
        assert bench.sender.estimated_bytes == 2 * estimated
        assert bench.sender.queued_bytes == 2 * estimated + bench.sender.ready_bytes
        assert 400_000 < bench.sender.ready_bytes < 530_000
        assert bench.sender.synced == 0
        pair.read(0)
        assert bench.sender.synced == 1
        assert bench.sender.queued_bytes == 0
        bench.sender.finish()


def test_the_speed_of_long_frames_is_remembered_while_they_are_quick() -> None:
    with ends(1) as pair:
        bench = Bench(pair)
        sender, guess = bench.sender, COMPRESSOR_BPS / 4096
        assert (sender.speed, sender.long_speed) == (guess, guess)
        sender.pages_per_s = guess * 0.8
        assert sender.long_speed == guess * 0.8
        last, quick, again = packet_of(8, 1), packet_of(8, 2), packet_of(8, 3)
        last.ends_frame = quick.quick = quick.ends_frame = True
        bench.put(Job(0, last), Job(0, quick))
        pair.read(0)
        assert sender.speed == pytest.approx(0.8 * QUICK_BPS / 4096), "a guess from what it was"
        assert sender.long_speed == guess * 0.8
        bench.put(Job(0, again))
        pair.read(0)
        assert (sender.speed, sender.long_speed) == (guess * 0.8, guess * 0.8)
        sender.pages_per_s = guess / 100
        assert sender.long_speed == guess * SLOWEST_SHARE, "a busy moment costs no window"


def test_finishing_waits_for_everything() -> None:
    with ends(1, 4096) as pair:
        bench, read = Bench(pair), list[bytes]()
        bench.put(Job(0, packet_of()), Job(0, None, 1))
        reader = threading.Timer(0.2, lambda: read.append(pair.read(0)))
        reader.start()
        bench.sender.finish()
        assert bench.sender.synced == 1
        reader.join(3)
        assert len(read[0]) > 512 << 10


def test_a_channel_that_takes_nothing_ends_with_an_error_and_finishing_does_not_hang() -> None:
    with ends(1, 4096) as pair:
        bench = Bench(pair)
        bench.put(Job(0, packet_of()), Job(0, packet_of()))
        bench.sender.finish()
        assert ["has taken nothing" in str(error) for error in bench.errors] == [True]


def test_a_closed_channel_is_an_error_of_all_writers() -> None:
    with ends(1) as pair:
        bench = Bench(pair)
        pair.far[0].close()
        bench.put(Job(0, packet_of()))
        bench.sender.finish()
        assert len(bench.errors) == 1
        with pytest.raises(LinkError, match=r"closed multifd channel 0 .* end that QEMU"):
            bench.writing.check()


def test_an_idle_channel_ends_when_another_writer_failed() -> None:
    with ends(1) as pair:
        bench = Bench(pair)
        bench.writing.give_up(LinkError("elsewhere"))
        bench.sender._thread.join(2)
        assert not bench.sender._thread.is_alive()
        assert bench.errors == []


def test_the_compressors_speed_is_the_sum_and_at_least_what_one_processor_does() -> None:
    with ends(1) as one, ends(1) as other:
        senders = [Bench(one).sender, Bench(other).sender]
        assert compressor_bps(senders) == 2 * COMPRESSOR_BPS
        senders[0].pages_per_s = 100_000.0
        senders[1].pages_per_s = 50.0
        assert compressor_bps(senders) == COMPRESSOR_BPS + 100_000 * 4096
        assert senders[1].speed == 50.0
        senders[1].waiting_pages = 100
        assert senders[1].owed_s == 2.0


def took(bench: Bench, count: int) -> bool:
    return len(bench.took) == count


def test_the_first_packets_say_nothing_of_the_speed() -> None:
    """The compressor touches its memory for the first time."""
    with ends(1, 1 << 20) as pair:
        bench = Bench(pair)
        for count in range(WARM_UP_PACKETS + 1):
            assert bench.sender.pages_per_s == 0
            bench.put(Job(0, packet_of(1, count)))
            assert eventually(partial(took, bench, count + 1))
        assert bench.sender.pages_per_s > 0
