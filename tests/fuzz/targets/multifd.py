"""Multifd: whole scripts of interleaved sockets, some bytes wrong; what the relay emits is what they said.

An input is a program that writes main and up to three channels as QEMU does, less careful about order.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from unittest import mock

from pagethrift.errors import StreamError
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.stream import sections
from pagethrift.stream.image import image
from pagethrift.stream.packets import PacketFlag
from pagethrift.stream.synthetic import StreamBuilder, handshake, packet
from tests.fuzz import multifd_oracle as oracle
from tests.fuzz.target import Bytes, Target, check_line
from tests.fuzz.targets import thinner
from tests.multifd import MAIN, Deadlock, Migration, Scene, packer

_NAMES = thinner.NAMES


class _Writer:
    """Writes a script of (socket, bytes)."""

    def __init__(self, source: Bytes) -> None:
        self.source = source
        self.channels = 1 + source.below(3)
        self.per_section = source.flag()
        self.pages_of = [1 + source.below(4) for _ in range(1 + source.below(2))]
        self.main = StreamBuilder(zip(_NAMES, self.pages_of, strict=False), flush=not self.per_section)
        self.content: dict[tuple[int, int], bytes] = {}
        self.packing = (0, 0, 0, 0, PacketFlag.ZLIB, PacketFlag.ZSTD)[(source.left + self.channels) % 6]
        self.packers = [packer(self.packing, to == 1) for to in range(self.channels)]
        self.script: list[tuple[int, bytes]] = []

    def write(self) -> Migration:
        source = self.source
        numbers = list(range(self.channels))
        if source.below(16) == 0:
            numbers[source.below(self.channels)] = source.number()
        self.script += [(to, handshake(numbers[to])) for to in range(self.channels)]
        early = source.flag()
        whole = self.main.parts
        if early:
            self.flush()
        self.sync()
        if not early:
            self.flush()
        assert not whole or self.main.parts is whole
        self.main.begin_body()
        for _ in range(40):
            if not source.left:
                break
            self.step()
        self.end_body(last=True)
        self.main.parts.append(b"\4device state\0")
        self.flush()
        return Migration(self.channels, self.per_section, True, self.script)

    def flush(self) -> None:
        """Main's buffer goes out."""
        self.script.append((MAIN, b"".join(bytes(part) for part in self.main.parts)))
        self.main.parts.clear()

    def sync(self, flags: int = PacketFlag.SYNC) -> None:
        for to in range(self.channels):
            self.script.append((to, packet(flags=flags)))

    def end_body(self, last: bool) -> None:
        if last:
            if not self.per_section:
                self.sync()
                self.main.flush()
            self.main.end_body()
            self.main.begin_body(last=True)
        self.sync()
        if not self.per_section:
            self.main.flush()
        self.main.end_body()

    def step(self) -> None:
        source = self.source
        match source.below(16):
            case 10:
                self.end_body(last=False)
                self.flush()
                self.main.begin_body()
            case 11 if not self.per_section:
                self.sync()
                self.main.flush()
                self.flush()
            case 12:
                self.end_body(last=False)
                self.main.parts.append(thinner.foreign(source))
                if source.flag():
                    self.cut()
                self.main.begin_body()
            case 13:
                self.cut()
            case 14:
                self.main.page(*self.place(), b"")
            case 15:
                self.flush()
            case kind:
                self.pages(kind)

    def cut(self) -> None:
        """Main's buffer was full in the middle."""
        whole = b"".join(bytes(part) for part in self.main.parts)
        at = self.source.below(len(whole) + 1, 2)
        self.script.append((MAIN, whole[:at]))
        self.main.parts[:] = [whole[at:]]

    def place(self) -> tuple[int, int]:
        block = self.source.below(len(self.pages_of))
        return block, self.source.below(self.pages_of[block])

    def pages(self, kind: int) -> None:
        source = self.source
        block = source.below(len(self.pages_of))
        normal: dict[int, bytes] = {}
        zero: list[int] = []
        for _ in range(1 + source.below(3)):
            page = source.below(self.pages_of[block])
            content = thinner.page_of(source, kind, self.content.get((block, page), bytes(PAGE_BYTES)))
            self.content[block, page] = content
            if kind == 0 and page not in normal and page not in zero:
                zero.append(page)
            elif page not in zero:
                normal[page] = content
        flags = PacketFlag.SYNC if source.below(32) == 0 else 0
        to = source.below(self.channels)
        if normal:
            flags |= self.packing
        data = packet(_NAMES[block], normal.items(), zero, flags, pack=self.packers[to])
        self.script.append((to, data))


def fuzz_one(data: bytes) -> None:
    source = Bytes(data)
    seed, chosen = source.number(2), source.number()
    wrong = [(source.number(), source.number(2), source.number()) for _ in range(source.below(4))]
    move = [(source.below(3), source.number(), source.number()) for _ in range(max(0, source.below(6) - 3))]
    it = _Writer(source).write()
    for number, at, value in wrong:
        number %= len(it.script)
        to, written = it.script[number]
        if written:
            changed = bytearray(written)
            changed[at % min(len(changed), 2000)] ^= value
            it.script[number] = (to, bytes(changed))
    for kind, number, other in move:
        number, other = number % len(it.script), other % len(it.script)
        match kind:
            case 0:
                del it.script[number]
            case 1:
                it.script[number], it.script[other] = it.script[other], it.script[number]
            case _:
                it.script.insert(other, it.script[number])
        if not it.script:
            return
    with mock.patch.object(sections, "MAX_RAM_BYTES", thinner.MOST_RAM_BYTES):
        _run(it, chosen, seed)


def _run(it: Migration, chosen: int, seed: int) -> None:
    scene = Scene(it, thinner.strategy(chosen, seed), seed)
    try:
        try:
            thinned = scene.run()
        except Deadlock:  # a SYNC or mark was lost, so that both wait: the operator cancels
            scene.close()
            thinned = scene.run()
    except StreamError as error:
        check_line(error)
        return
    with contextlib.suppress(oracle.Unsure):
        oracle.check(it, image(thinned, thinner.before), thinner.before)


def seeds() -> Iterator[bytes]:
    rng = random.Random(3)
    for count in (0, 8, 40, 120, 300):
        for chosen in (0, 11, 250):
            for per_section in (0, 1):
                head = rng.randbytes(2) + bytes([chosen, 0, 0])
                yield head + bytes([rng.randrange(3), per_section]) + rng.randbytes(count)
    for _ in range(20):
        yield rng.randbytes(2) + bytes([250]) + rng.randbytes(200)


TARGET = Target(fuzz_one, seeds, most_bytes=600)
