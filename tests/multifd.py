"""Random multifd migrations, the same pages as a plain stream, and a source that blocks where QEMU does."""

from __future__ import annotations

import random
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import zstandard

from pagethrift.engine.output import Output, PauseReason
from pagethrift.engine.source_channels import Channel
from pagethrift.engine.thinner import Thinner
from pagethrift.model.channels import ChannelSettings, SyncMode
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.strategies.base import Strategy
from pagethrift.stream.packets import PacketFlag
from pagethrift.stream.synthetic import StreamBuilder, handshake, packet
from pagethrift.stream.wire import Section
from pagethrift.stream.writer import RUN_BYTES
from tests.destination import Carried, Writers, answer_probe, steer_frames
from tests.streams import _next, _page

MAIN = -1
VFIO_ID = 7
NAMES = ("pc.ram", "pc.bios", "/rom@etc/acpi/tables")


class Deadlock(Exception):
    """Neither the source can write nor the relay read, and the stream is not over."""


@dataclass
class Migration:
    """What a source writes, in its order, and the same pages as one plain stream."""

    channels: int
    per_section: bool
    legacy_zero: bool
    script: list[tuple[int, bytes]] = field(default_factory=list)
    """(channel or MAIN, bytes)"""
    plain: bytes = b""
    marks: int = 0
    packing: int = 0
    """PacketFlag.ZLIB, PacketFlag.ZSTD, or 0"""


def packer(packing: int, frames: bool) -> Callable[[bytes], bytes] | None:
    """Compress a channel's packets as QEMU does; ``frames``: a zstd frame each, with a checksum."""
    if packing == PacketFlag.ZLIB:
        stream = zlib.compressobj(1)
        return lambda data: stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)
    if packing == PacketFlag.ZSTD:
        if frames:
            return zstandard.ZstdCompressor(write_checksum=True).compress
        whole = zstandard.ZstdCompressor(level=1).compressobj()
        return lambda data: whole.compress(data) + whole.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    return None


class _Writer:
    """Plays multifd.c and ram.c: main is buffered and flushed only where QEMU flushes."""

    def __init__(self, seed: int, return_path: bool = False) -> None:
        rng = self.rng = random.Random(seed)
        self.it = Migration(rng.randint(1, 4), rng.random() < 0.5, rng.random() < 0.5)
        # 7.2 to 8.2: SYNC may ride on pages, an empty packet may follow, lengths may be stale.
        self.old = self.it.per_section and rng.random() < 0.7
        self.trailing = not self.it.per_section and rng.random() < 0.5
        self.pages_of = [rng.randint(1, 6) for _ in range(rng.randint(1, 3))]
        blocks = [(NAMES[i], count) for i, count in enumerate(self.pages_of)]
        self.main = StreamBuilder(blocks, flush=not self.it.per_section, return_path=return_path)
        self.oracle = StreamBuilder(blocks, return_path=return_path)
        self.content: dict[tuple[int, int], bytearray] = {}
        self.pool = [_page(rng) for _ in range(4)]
        self.sent: set[tuple[int, int]] = set()
        self.order = list(range(self.it.channels))
        rng.shuffle(self.order)
        self.uuid = rng.randbytes(16)
        self.it.packing = rng.choice((0, 0, PacketFlag.ZLIB, PacketFlag.ZSTD))
        self.packers = [packer(self.it.packing, rng.random() < 0.3) for _ in range(self.it.channels)]
        self.vfio_begun = False
        self.later: list[tuple[int, bytes]] = []

    def write(self, bodies: int, steps: int) -> Migration:
        it, rng = self.it, self.rng
        head = bytes(self.main.parts.pop(0))
        it.script.append((MAIN, head))
        for to in range(it.channels):
            it.script.append((to, handshake(self.order[to], self.uuid)))
        if rng.random() < 0.5:  # 9.0 and later connect every channel before main's first byte
            it.script.append(it.script.pop(0))
        self._sync(mark=False)
        footer = self._end_mark()
        for body in range(bodies):
            last = body == bodies - 1
            self.main.parts[:0] = [footer]
            if rng.random() < 0.3:
                self._vfio()
            self.main.begin_body(last)
            self.oracle.begin_body(last)
            for _ in range(rng.randint(0, steps)):
                self._packet()
                if not it.per_section and rng.random() < 0.15:
                    self._sync(mark=True)
            if it.per_section:
                self._sync(mark=False)
            elif last:
                self._sync(mark=True)
                if self.trailing:
                    self._sync(mark=False)
            self.main.end_body()
            self.oracle.end_body()
            footer = self._end_mark()
        tail = rng.randbytes(rng.randint(0, 200))
        it.script.append((MAIN, footer + tail))
        it.plain = self.oracle.finish(tail)
        return it

    def _end_mark(self) -> bytes:
        """Flush main up to and with the end mark; return the footer, which waits for the next flush."""
        data = b"".join(bytes(part) for part in self.main.parts)
        self.main.parts.clear()
        self.it.script.append((MAIN, data[:-5]))
        self._write_later()
        return data[-5:]

    def _write_later(self) -> None:
        self.it.script += self.later
        self.later.clear()

    def _sync(self, mark: bool) -> None:
        order = list(range(self.it.channels))
        self.rng.shuffle(order)
        for to in order:
            data = packet(flags=PacketFlag.SYNC)
            if self.old and self.it.marks and self.rng.random() < 0.5:
                data = self._pages(PacketFlag.SYNC, to) or data
                if self.rng.random() < 0.5:
                    # Written by the channel's thread at its leisure: main's mark does not wait for it.
                    self.later.append((to, packet(stale_bytes=self.rng.choice((0, 4096, 99)))))
            self.it.script.append((to, data))
        self.it.marks += 1
        self.sent.clear()
        if mark:
            self.main.flush()
            self._flush()

    def _flush(self) -> None:
        self.it.script.append((MAIN, b"".join(bytes(part) for part in self.main.parts)))
        self.main.parts.clear()

    def _vfio(self) -> None:
        data = bytes([Section.PART if self.vfio_begun else Section.START]) + VFIO_ID.to_bytes(4, "big")
        data += b"" if self.vfio_begun else b"\x08dev/vfio" + bytes(8)
        self.vfio_begun = True
        length = self.rng.choice((0, 3, 700, 20_000))
        data += (
            (0xFFFFFFFFEF100004).to_bytes(8, "big") + length.to_bytes(8, "big") + self.rng.randbytes(length)
        )
        data += (0xFFFFFFFFEF100001).to_bytes(8, "big") + b"\x7e" + VFIO_ID.to_bytes(4, "big")
        self.main.parts.append(data)
        if self.rng.random() < 0.6:  # QEMUFile's buffer was full in the middle
            whole = b"".join(bytes(part) for part in self.main.parts)
            cut = self.rng.randint(1, len(whole))
            self.it.script.append((MAIN, whole[:cut]))
            self.main.parts = [whole[cut:]]

    def _packet(self) -> None:
        to = self.rng.randrange(self.it.channels)
        data = self._pages(0, to)
        if data:
            self.it.script.append((to, data))

    def _pages(self, flags: int, to: int) -> bytes:
        block = self.rng.randrange(len(self.pages_of))
        free = [i for i in range(self.pages_of[block]) if (block, i) not in self.sent]
        chosen = self.rng.sample(free, min(len(free), self.rng.randint(1, 4)))
        normal: list[tuple[int, bytes]] = []
        zero: list[int] = []
        for page in chosen:
            self.sent.add((block, page))
            data = _next(self.rng, self.content.get((block, page)), self.pool)
            self.content[block, page] = data
            self.oracle.page(block, page, bytes(data))
            if any(data) or self.rng.random() < 0.2:
                normal.append((page, bytes(data)))
            elif self.it.legacy_zero:
                self.main.page(block, page, b"")
            else:
                zero.append(page)
        if not normal and not zero:
            return b""
        if normal or not self.old:
            flags |= self.it.packing
        return packet(NAMES[block], normal, zero, flags, pack=self.packers[to])


def random_migration(seed: int, bodies: int = 5, steps: int = 12, return_path: bool = False) -> Migration:
    """A legal multifd migration: every QEMU's ways, several channels, blocks and rounds."""
    return _Writer(seed, return_path).write(random.Random(seed ^ 1).randint(1, bodies), steps)


@dataclass
class _Pipe:
    """A socket: so many bytes fit."""

    capacity: int
    data: deque[bytes] = field(default_factory=deque)
    size: int = 0

    def write(self, data: bytes) -> int:
        count = min(len(data), self.capacity - self.size)
        if count:
            self.data.append(data[:count])
            self.size += count
        return count

    def read_into(self, room: memoryview) -> int:
        if not self.data:
            return 0
        first = self.data.popleft()
        count = min(len(first), len(room))
        room[:count] = first[:count]
        if count < len(first):
            self.data.appendleft(first[count:])
        self.size -= count
        return count


class Scene:
    """A source with bounded sockets, the thinner, and a shell that reads in a random order.

    The source is stricter than QEMU: one thread that writes its script in order, blocked whenever the
    socket it writes to is full. Whatever gets through here gets through with QEMU's threads.
    """

    def __init__(
        self,
        it: Migration,
        strategy: Strategy,
        seed: int,
        hold_pages: int = 3,
        over: ChannelSettings | None = None,
        mode: SyncMode = SyncMode.ROUND,
    ) -> None:
        """``over``: the destination takes compressed channels and syncs as ``mode``; see ``carried``."""
        rng = self.rng = random.Random(seed)
        batch = rng.choice((1, 2, 7, 64))
        self.thinner = Thinner(
            strategy,
            rng.randbytes(32),
            hold_pages * PAGE_BYTES,
            batch_pages=batch,
            run_bytes=rng.choice((1, RUN_BYTES)),
            channels=over,
        )
        self.out = Output(batch * 5000 + rng.choice((0, 1, 9000)) + (100 * batch + 200 if over else 0))
        self.result = bytearray()
        self.carried = Carried(self.result, [bytearray() for _ in range(over.channels if over else 0)], mode)
        self._writers = Writers(self.thinner, over, self.carried, rng) if over else None
        capacity = rng.choice((700, 6000, 50_000, 1 << 40))
        self._pipes = {to: _Pipe(capacity) for to in range(MAIN, it.channels)}
        self._script = deque(it.script)
        self._piece = rng.choice((600, 5000, 1 << 20))
        self._now_s = 0.0
        self._unconnected = list(range(it.channels))
        self._channels: dict[int, Channel] = {}
        self._idle: list[int] = []
        self._closed = False

    def run(self) -> bytes:
        """Return the thinned stream. Raises StreamError or Deadlock."""
        while True:
            self._write()
            self._now_s += self.rng.random()
            progress = self.thinner.run(self.out, self._now_s)
            self.result += b"".join(self.out.pieces())
            self.out.clear()
            if self._writers:
                self._writers.work()
                self.thinner.compressing = self.rng.random() < 0.8
                steer_frames(self.thinner, self.rng)
                if progress is PauseReason.PROBE:
                    answer_probe(self.thinner, self.carried.mode)
                    self._writers.work()
            back = self.thinner.given_back()
            self._idle += [to for to, channel in self._channels.items() if channel in back]
            if progress is PauseReason.ENDED:
                return bytes(self.result)
            if self.rng.random() < 0.03:
                self.thinner.begin_round(self.thinner.round + 1)
            if progress is PauseReason.NEED_INPUT or self.rng.random() < 0.3:
                moved = self._read(main=progress is PauseReason.NEED_INPUT and self.thinner.wants_main)
                if progress is PauseReason.NEED_INPUT and not moved and not back:
                    self._stuck()

    def _write(self) -> None:
        while self._script:
            to, data = self._script[0]
            if to in self._unconnected:  # its handshake is the first thing in the script
                if not self.thinner.joinable:  # main is damaged: the intake closes who comes now
                    raise Deadlock("a channel came too late")
                self._unconnected.remove(to)
                self._channels[to] = self.thinner.add_channel()
                self._idle.append(to)
            count = self._pipes[to].write(data)
            if count < len(data):
                self._script[0] = (to, data[count:])
                return
            self._script.popleft()

    def _read(self, main: bool) -> bool:
        """Give the thinner some bytes of whatever it may take; False when there was nothing."""
        moved = False
        choices = [*self._idle, *([MAIN] if main else [])]
        self.rng.shuffle(choices)
        for to in choices:
            if moved and self.rng.random() < 0.5:
                continue
            if to == MAIN:
                count = self._pipes[to].read_into(self.thinner.room(self._piece)[: self._piece])
                if count:
                    self.thinner.received(count)
                    moved = True
                continue
            channel = self._channels[to]
            while not (ready := channel.prepare()):
                count = self._pipes[to].read_into(channel.room(self._piece)[: self._piece])
                if not count:
                    break
                channel.received(count)
                moved = True
            if ready:
                self._idle.remove(to)
                moved = True
        return moved

    def _stuck(self) -> None:
        if self._closed or self._script or any(pipe.size for pipe in self._pipes.values()):
            raise Deadlock(f"{len(self._script)} writes left, wants main: {self.thinner.wants_main}")
        self.close()

    def close(self) -> None:
        """The source closes every socket; what it has not written is lost."""
        self._closed = True
        self._script.clear()
        self.thinner.room()
        self.thinner.received(0)
        for to in self._idle:
            self._channels[to].room()
            self._channels[to].received(0)
