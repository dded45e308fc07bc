"""A destination with compressed channels: reads main and the channels as QEMU does, in any order it allows.

It decodes packets by itself, with nothing of the project's but the reader of main. Between two syncs main
and each channel run at their own pace, as threads of QEMU do; the tests make the pace extreme.
"""

from __future__ import annotations

import random
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pagethrift.engine.output import Output, PauseReason
from pagethrift.engine.thinner import Thinner
from pagethrift.model.channels import ChannelSettings, SyncMode
from pagethrift.model.pages import PAGE_BYTES, U8, Block, BlockTable, PageBatch
from pagethrift.strategies.base import Strategy
from pagethrift.stream.encoding.packet import PacketEncoder
from pagethrift.stream.events import BodyBegins, BodyEnds, Pages, RamBegins, RamEnds, Raw, Signal
from pagethrift.stream.image import _apply
from pagethrift.stream.reader import StreamReader
from pagethrift.stream.writer import RUN_BYTES
from tests.zstd_pages import PageDecoder

UUID = bytes(range(16))
HEAD = struct.Struct(">IIIIIIQI28x256s128Q")
SYNC, ZSTD = 1, 4


@dataclass
class Carried:
    """What the sockets of one migration carried."""

    main: bytearray
    channels: list[bytearray]
    mode: SyncMode
    packets: int = 0
    syncs: int = 0


@dataclass
class Writers:
    """The writers of channels, without threads: they compress at once, or late."""

    thinner: Thinner
    settings: ChannelSettings
    carried: Carried
    rng: random.Random
    encoders: list[PacketEncoder] = field(init=False)
    waiting: deque[tuple[object, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.encoders = [PacketEncoder(number, self.settings) for number in range(self.settings.channels)]
        for number, encoder in enumerate(self.encoders):
            self.carried.channels[number] += encoder.handshake()

    def work(self) -> None:
        for job in self.thinner.jobs():
            to, encoder = self.carried.channels[job.channel], self.encoders[job.channel]
            if job.packet is None:
                to += encoder.sync()
                self.carried.syncs += 1
                continue
            data = b"".join(encoder.pages(job.packet))
            self.carried.packets += 1
            to += data
            self.thinner.taken(job.packet, len(data))


def thin_over_channels(
    stream: bytes,
    strategy: Strategy,
    seed: int,
    mode: SyncMode,
    settings: ChannelSettings,
    hold_pages: int = 3,
) -> Carried:
    """Thin a stream in random pieces for a destination with compressed channels."""
    rng = random.Random(seed)
    batch = rng.choice((1, 2, 7, 64))
    thinner = Thinner(
        strategy, rng.randbytes(32), hold_pages * PAGE_BYTES, batch_pages=batch,
        run_bytes=rng.choice((1, 5000, RUN_BYTES)), channels=settings,
    )  # fmt: skip
    carried = Carried(bytearray(), [bytearray() for _ in range(settings.channels)], mode)
    writers = Writers(thinner, settings, carried, rng)
    out, view, now_s = Output(batch * 5100 + rng.choice((200, 9000))), memoryview(stream), 0.0
    while True:
        now_s += rng.random()
        thinner.compressing = rng.random() < 0.8
        steer_frames(thinner, rng)
        progress = thinner.run(out, now_s)
        writers.work()
        carried.main += b"".join(out.pieces())
        out.clear()
        if progress is PauseReason.ENDED:
            return carried
        if progress is PauseReason.PROBE:
            answer_probe(thinner, mode)
            writers.work()
        if progress is PauseReason.NEED_INPUT:
            room = thinner.room(rng.choice((1, 100, 5000, 1 << 20)))
            count = min(len(room), len(view), rng.choice((1, 100, 5000, 1 << 20)))
            room[:count] = view[:count]
            view = view[count:]
            thinner.received(count)
        if rng.random() < 0.05:
            thinner.begin_round(thinner.round + 1)
        if rng.random() < 0.01:
            thinner.go()


def steer_frames(thinner: Thinner, rng: random.Random) -> None:
    """Change the kind of frame now and then."""
    thinner.link_bps = rng.choice((1.0, 1e9))
    if thinner.packing:
        thinner.packing.long_pages_per_s = 1.0


def answer_probe(thinner: Thinner, mode: SyncMode) -> None:
    """Answer as a destination of this mode does."""
    if mode is SyncMode.SECTION:
        thinner.sync_channels()
    thinner.probed(mode)


class Hung(Exception):
    """Main waits for a SYNC that no channel will bring, or a channel for a mark that main does not have."""


@dataclass
class _Main:
    events: list[object] = field(default_factory=list)
    table: BlockTable | None = None
    tail: bytearray = field(default_factory=bytearray)


MARK = object()


def _read_main(data: bytes, mode: SyncMode) -> _Main:
    """Return main's pages, copied, and its marks."""
    main, reader, over = _Main(), StreamReader(), False
    for piece in (data, b""):
        for event in reader.feed(piece):
            match event:
                case RamBegins(table):
                    main.table = table
                case Pages(batch):
                    main.events.append(
                        PageBatch(batch.page.copy(), batch.kind.copy(), batch.position.copy(),
                                  batch.length.copy(), batch.buffer.copy())
                    )  # fmt: skip
                case Signal.FLUSH:
                    assert mode is SyncMode.ROUND, "QEMU 7.2 takes no MULTIFD_FLUSH"
                    main.events.append(MARK)
                case BodyEnds() if mode is SyncMode.SECTION:
                    main.events.append(MARK)
                case RamEnds():
                    over = True
                case Raw(data=raw) if over:
                    main.tail += raw
    return main


def _read_channel(data: bytes, number: int, table: BlockTable) -> list[object]:
    """Return a channel's pages, as (page, content) pairs of a packet, and its SYNCs."""
    magic, version = struct.unpack(">II", data[:8])
    assert (magic, version, data[8:24], data[24]) == (0x11223344, 1, UUID, number)
    assert not any(data[25:64])
    found: list[object] = []
    decoder, at = PageDecoder(), 64
    blocks = {block.name: block for block in table.blocks}
    while at < len(data):
        magic, version, flags, alloc, normal, size, _, zero, name, *offsets = HEAD.unpack_from(data, at)
        assert (magic, version) == (0x11223344, 1)
        assert alloc <= 128
        assert zero == 0
        at += HEAD.size
        if normal:
            assert flags == ZSTD
            assert normal <= alloc
            assert 0 < size < 1 << 20
            block = blocks[name.rstrip(b"\0")]
            raw = decoder.pages(data[at : at + size], normal)
            assert all(offset % PAGE_BYTES == 0 and offset < block.used_bytes for offset in offsets[:normal])
            found.append(
                [
                    (block.first_page + offset // PAGE_BYTES, raw[i * PAGE_BYTES : (i + 1) * PAGE_BYTES])
                    for i, offset in enumerate(offsets[:normal])
                ]
            )
            at += size
        else:
            assert (flags, size) == (SYNC, 0)
            found.append(MARK)
    return found


def load(
    carried: Carried, before: Callable[[Block], U8 | None] | None, pace: str, seed: int
) -> tuple[U8, bytes]:
    """Return a destination's RAM and the bytes after it.

    ``pace``: "main" and "channels" let the one run as far ahead of the other as syncs allow, "random" both.
    Raises Hung.
    """
    rng = random.Random(seed)
    main = _read_main(bytes(carried.main), carried.mode)
    assert main.table is not None
    memory = np.zeros(main.table.total_pages * PAGE_BYTES, np.uint8)
    for block in main.table.blocks:
        content = before(block) if before else None
        if content is not None:
            memory[block.first_page * PAGE_BYTES :][: block.used_bytes] = content
    lanes = [deque(main.events)]
    lanes += [deque(_read_channel(bytes(data), n, main.table)) for n, data in enumerate(carried.channels)]
    synced, passed = [0] * len(lanes), 0
    while any(lanes):
        # a channel that has read a SYNC waits until main has passed the mark; main waits for all channels
        ready = [
            i for i, lane in enumerate(lanes)
            if lane and (synced[i] <= passed if i else lane[0] is not MARK or min(synced[1:]) > passed)
        ]  # fmt: skip
        if not ready:
            raise Hung(
                f"{[len(lane) for lane in lanes]} events left, {passed} marks passed, SYNCs {synced[1:]}"
            )
        first = {"main": min(ready), "channels": max(ready), "random": rng.choice(ready)}[pace]
        event = lanes[first].popleft()
        if event is MARK:
            if first:
                synced[first] += 1
            else:
                passed += 1
        elif isinstance(event, PageBatch):
            bad = _apply(memory, event.page, event.kind, event.position, event.length, event.buffer)
            assert bad < 0
        else:
            assert isinstance(event, list)
            for page, content in event:
                memory[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = np.frombuffer(content, np.uint8)
    return memory, bytes(main.tail)


def repeats_at_the_end(stream: bytes) -> bool:
    """Whether RAM's last section has a page twice, by the reader alone."""
    seen: list[int] = []
    for event in StreamReader().feed(stream):
        match event:
            case BodyBegins():
                seen = []
            case Pages(batch):
                seen += batch.page.tolist()
            case BodyEnds(last=True):
                return len(set(seen)) < len(seen)
    raise AssertionError("no last section")
