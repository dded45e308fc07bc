"""Multifd terminated, as a playbook: what goes in on which socket, and what comes out of one."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from pagethrift.engine.counters import Count
from pagethrift.engine.output import Output, PauseReason, StreamPhase
from pagethrift.engine.source_channels import ASIDE_BYTES, Channel
from pagethrift.engine.thinner import Thinner
from pagethrift.errors import StreamError
from pagethrift.model.methods import Method
from pagethrift.strategies.base import Strategy
from pagethrift.strategies.table import TABLE
from pagethrift.stream.packets import PacketFlag
from pagethrift.stream.synthetic import handshake, packet
from tests.unit.engine.playbook import PAGE_A, PAGE_B, PAGE_C, SECRET, Script
from tests.unit.stream.pieces import (
    EOS,
    FLUSH,
    HEADER,
    RAM,
    TAIL,
    be32,
    be64,
    configuration,
    footer,
    page,
    part,
    ram_start,
    start,
    zero,
)

SYNC = packet(flags=PacketFlag.SYNC)
PART, END, FOOT = b"\x02" + be32(RAM), b"\x03" + be32(RAM), footer(RAM)
PER_ROUND = HEADER + configuration() + ram_start(after=FLUSH)
PER_SECTION = HEADER + configuration() + ram_start()


@dataclass
class Bench:
    """A thinner with channels, fed by hand; each call returns what came out."""

    thinner: Thinner
    channels: list[Channel] = field(default_factory=list)
    ended: bool = False

    @classmethod
    def of(
        cls, channels: int = 2, strategy: Strategy | None = None, shakes: list[bytes] | None = None
    ) -> Bench:
        thinner = Thinner(strategy or TABLE["pagethrift"](), SECRET)
        bench = cls(thinner, [thinner.add_channel() for _ in range(channels)])
        for i in range(channels):
            bench.channel(i, shakes[i] if shakes else handshake(i))
        return bench

    def main(self, data: bytes) -> bytes:
        self.thinner.room()[: len(data)] = data
        self.thinner.received(len(data))
        return self.run()

    def channel(self, index: int, data: bytes) -> bytes:
        """Feed one channel; what it cannot take yet stays in its reader."""
        channel = self.channels[index]
        if channel.event is None and not channel.prepare():
            channel.room()[: len(data)] = data
            channel.received(len(data))
            channel.prepare()
        return self.run()

    def run(self) -> bytes:
        result, out = bytearray(), Output()
        while True:
            progress = self.thinner.run(out, 0.0)
            result += b"".join(out.pieces())
            out.clear()
            back = self.thinner.given_back()
            for channel in back:
                channel.prepare()
            self.ended = progress is PauseReason.ENDED
            if self.ended or (progress is PauseReason.NEED_INPUT and not back):
                return bytes(result)

    def begin(self, head: bytes) -> bytes:
        """Feed main up to the end mark of RAM's first section, and every channel's SYNC."""
        result = self.main(head[: -len(FOOT)])
        for i in range(len(self.channels)):
            result += self.channel(i, SYNC)
        return result


def test_per_round_from_the_first_byte_to_the_last() -> None:
    bench = Bench.of(2)
    assert bench.begin(PER_ROUND) == PER_ROUND.removesuffix(FLUSH + EOS + FOOT)
    assert bench.main(FOOT + PART) == EOS + FOOT + PART
    assert bench.channel(1, packet("pc.ram", [(3, PAGE_A)])) == page(3, content=PAGE_A)
    assert bench.channel(0, packet("pc.ram", [(4, PAGE_B)], zero=[5])) == page(4, None, PAGE_B) + zero(
        5, None
    )
    assert bench.main(EOS + FOOT + END) == EOS + FOOT + END
    assert bench.channel(0, packet("pc.ram", [(2, PAGE_A)])) == page(2, None, PAGE_A)
    assert bench.main(FLUSH + EOS) == b""
    assert not bench.thinner.wants_main
    assert bench.channel(0, SYNC) == b""
    assert bench.channel(1, SYNC) == b""
    assert bench.thinner.wants_main
    assert bench.main(FOOT + TAIL) == EOS + FOOT + TAIL
    assert bench.main(b"") == b""
    assert bench.ended
    assert bench.thinner.counters.of(Count.PAGES_IN) == 4
    assert bench.thinner.in_bytes > 2 * (64 + 2 * 1344) + 3 * 4096 + len(PER_ROUND)


def test_per_section_every_end_mark_is_a_mark() -> None:
    bench = Bench.of(2)
    assert bench.begin(PER_SECTION) == PER_SECTION.removesuffix(EOS + FOOT)
    assert bench.main(FOOT + PART + zero(1) + EOS) == EOS + FOOT + PART + zero(1)
    assert bench.channel(0, packet("pc.ram", [(3, PAGE_A)]) + SYNC) == page(3, None, PAGE_A)
    assert not bench.thinner.wants_main
    assert bench.channel(1, packet("pc.ram", [(2, PAGE_A)], flags=PacketFlag.SYNC)) == page(2, None, PAGE_A)
    assert bench.main(FOOT + END + EOS) == EOS + FOOT + END
    assert bench.channel(0, SYNC) + bench.channel(1, SYNC) == b""
    assert bench.main(FOOT + TAIL) == EOS + FOOT + TAIL


def test_pages_after_a_sync_wait_for_its_mark() -> None:
    """Newest wins: page 3 was sent on one channel before a sync and on the other after it."""
    bench = Bench.of(2)
    bench.begin(PER_ROUND)
    bench.main(FOOT + PART)
    assert bench.channel(1, SYNC + packet("pc.ram", [(3, PAGE_B)])) == b""
    assert bench.channel(0, packet("pc.ram", [(3, PAGE_A)]) + SYNC) == page(3, content=PAGE_A)
    assert bench.main(FLUSH) == page(3, None, PAGE_B)


def test_main_waits_at_its_mark_for_the_last_channel() -> None:
    bench = Bench.of(3)
    bench.begin(PER_ROUND)
    bench.main(FOOT + PART)
    for i in (0, 2):
        bench.channel(i, SYNC)
    assert bench.main(zero(1) + FLUSH + zero(2, None)) == zero(1)
    assert not bench.thinner.wants_main
    assert bench.channel(1, packet("pc.ram", zero=[2])) == zero(2, None)
    assert bench.channel(1, SYNC) == b"", "page 2 is held as zero already"
    assert bench.thinner.counters.by_method[Method.SKIP] == 1
    assert bench.thinner.wants_main


def test_pages_go_out_while_main_stands_before_a_footer() -> None:
    """QEMU flushes up to the end mark; the footer comes only after the channels were read."""
    bench = Bench.of(1)
    bench.begin(PER_ROUND)
    assert bench.channel(0, packet("pc.ram", [(1, PAGE_A)])) == page(1, content=PAGE_A)
    assert bench.main(FOOT) == EOS + FOOT
    assert bench.channel(0, packet("pc.ram", [(2, PAGE_B)])) == PART + page(2, None, PAGE_B)
    assert bench.channel(0, packet("pc.ram", [(3, PAGE_B)])) == page(3, None, PAGE_B)
    assert bench.main(PART + EOS + FOOT) == EOS + FOOT + PART + EOS + FOOT
    assert bench.channel(0, packet("pc.ram", [(4, PAGE_B)])) == PART + page(4, None, PAGE_B)
    assert bench.main(END) == EOS + FOOT + END


def test_pages_go_out_while_half_of_another_section_is_there() -> None:
    bench = Bench.of(1)
    bench.begin(PER_ROUND)
    tag = 0xFFFFFFFFEF100000
    vfio = start(b"x/vfio", 9, be64(tag | 4) + be64(1000) + bytes(1000) + be64(tag | 1))
    assert bench.main(FOOT + vfio[:500]) == EOS + FOOT
    assert bench.channel(0, packet("pc.ram", [(1, PAGE_A)])) == PART + page(1, content=PAGE_A)
    assert bench.main(vfio[500:-2]) == b""
    assert bench.main(vfio[-2:]) == EOS + FOOT + vfio
    assert bench.channel(0, packet("pc.ram", [(2, PAGE_A)])) == PART + page(2, None, PAGE_A)


def test_an_endless_section_beside_ram_is_refused() -> None:
    bench = Bench.of(1)
    bench.begin(PER_ROUND)
    tag = 0xFFFFFFFFEF100004
    bench.main(FOOT + start(b"x/vfio", 9, be64(tag) + be64(1 << 40))[:-5])
    for _ in range((ASIDE_BYTES >> 20) - 1):
        assert bench.main(bytes(1 << 20)) == b""
    with pytest.raises(
        StreamError, match=r"at most 4 MiB beside RAM, got a longer one \(switch .* multifd off"
    ):
        bench.main(bytes(1 << 20))


def test_held_pages_are_released_and_replaced() -> None:
    script = Script(hold_pages={3, 4})
    bench = Bench.of(2, script.row())
    bench.begin(PER_ROUND)
    bench.main(FOOT + PART)
    assert bench.channel(0, packet("pc.ram", [(3, PAGE_A), (4, PAGE_A)]) + SYNC) == b""
    assert len(bench.thinner.held) == 2
    bench.channel(1, SYNC + packet("pc.ram", [(3, PAGE_B)]))
    bench.main(FLUSH)
    assert len(bench.thinner.held) == 2
    bench.channel(0, SYNC)
    bench.channel(1, SYNC)
    out = bench.main(EOS + FOOT + END + FLUSH + EOS + FOOT + TAIL)
    assert out.startswith(EOS + FOOT + END)
    assert out.endswith(EOS + FOOT + TAIL)
    assert page(3, content=PAGE_B)[-4096:] in out
    assert out.count(PAGE_A) == 1
    assert len(bench.thinner.held) == 0


def test_one_extra_sync_at_the_end_is_harmless() -> None:
    """QEMU 9.1 and 9.2."""
    bench = Bench.of(1)
    bench.begin(PER_ROUND)
    bench.channel(0, SYNC + SYNC)
    assert bench.main(FOOT + END + FLUSH + EOS + FOOT + TAIL) == EOS + FOOT + END + EOS + FOOT + TAIL
    bench.main(b"")
    assert bench.ended


def test_channels_may_come_until_the_end_of_rams_first_section() -> None:
    thinner = Thinner(TABLE["pagethrift"](), SECRET)
    bench = Bench(thinner)
    assert thinner.joinable
    bench.main(PER_SECTION[:-20])
    assert thinner.joinable
    bench.channels.append(thinner.add_channel())
    bench.channel(0, handshake(0) + SYNC)
    bench.main(PER_SECTION[-20:])
    assert not thinner.joinable
    with pytest.raises(ValueError, match="before the end of RAM's first section"):
        thinner.add_channel()
    assert bench.main(PART) == PART
    assert bench.channel(0, packet("pc.ram", zero=[1])) == zero(1)


def test_a_plain_stream_with_flush_marks_is_copied() -> None:
    """QEMU 8.1 writes them without multifd too."""
    thinner = Thinner(TABLE["pagethrift"](), SECRET)
    stream = PER_ROUND + part(page(1), FLUSH, last=True) + TAIL
    assert Bench(thinner).main(stream) == stream
    assert not thinner.joinable


def test_a_sync_mode_does_not_change() -> None:
    bench = Bench.of(1)
    bench.begin(PER_SECTION)
    with pytest.raises(StreamError, match="no MULTIFD_FLUSH, as in RAM's first section, got one"):
        bench.main(FOOT + PART + FLUSH)


@pytest.mark.parametrize(
    ("shakes", "match"),
    [
        ([handshake(0), handshake(2)], "channels 0 to 1 before the end of RAM's first section, got 0, 2"),
        ([handshake(1), handshake(1)], "channels 0 to 1 .*, got 1, 1"),
        (
            [handshake(0, b"a" * 16), handshake(1, b"b" * 16)],
            "channels of one guest, got handshakes with different",
        ),
    ],
)
def test_channels_that_do_not_belong_together(shakes: list[bytes], match: str) -> None:
    bench = Bench.of(2, shakes=shakes)
    with pytest.raises(StreamError, match=match):
        bench.begin(PER_ROUND)


def test_a_channel_that_ends_too_early() -> None:
    bench = Bench.of(2)
    bench.begin(PER_ROUND)
    with pytest.raises(
        StreamError, match="packets until the end of RAM on multifd channel 1, got its end"
    ) as caught:
        bench.channel(1, b"")
    assert caught.value.offset == 64 + 1344


def test_channels_end_after_ram_and_main_goes_on() -> None:
    bench = Bench.of(2)
    bench.begin(PER_ROUND)
    bench.channel(0, SYNC)
    bench.channel(1, SYNC)
    bench.main(FOOT + END + FLUSH + EOS + FOOT)
    bench.channel(0, b"")
    assert bench.main(TAIL) == TAIL


def test_pages_after_ram_are_an_error() -> None:
    """They would be lost: nothing in the stream could carry them."""
    bench = Bench.of(1)
    bench.begin(PER_ROUND)
    bench.channel(0, SYNC)
    bench.main(FOOT + END + FLUSH + EOS)
    with pytest.raises(StreamError, match="no page after RAM's last section on multifd channel 0"):
        bench.channel(0, packet("pc.ram", [(1, PAGE_C)]))


def test_what_is_not_understood_cannot_be_piped() -> None:
    """The pages of the channels have no place in a copy of main."""
    bench = Bench.of(1)
    with pytest.raises(StreamError, match="a known configuration subsection"):
        bench.main(HEADER + configuration(b"\x05\x11configuration/new" + be32(1) + b"?"))
    assert bench.thinner.phase is StreamPhase.PREAMBLE
