"""A compressed channel: in any pieces the same pages whatever its packets hold, or an error at the same byte.

What the error says may differ: zstd tells of a wrong checksum or of too many bytes, whichever comes first.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from pagethrift.errors import StreamError
from pagethrift.model.pages import PAGE_BYTES, BlockTable
from pagethrift.stream.events import Pages, Signal
from pagethrift.stream.packets import ChannelReader, PacketFlag
from pagethrift.stream.synthetic import handshake, packet
from tests.fuzz.target import Bytes, Target, check_line, pieces
from tests.multifd import packer

PAGES = 8
_TABLE = BlockTable.of([(b"pc.ram", PAGES * PAGE_BYTES)])


def fuzz_one(data: bytes) -> None:
    source = Bytes(data)
    lengths = source.take(3)
    flag = PacketFlag.ZLIB if source.flag() else PacketFlag.ZSTD
    pack = packer(flag, source.flag())
    assert pack is not None
    stream = handshake(0) + packet(flags=PacketFlag.SYNC)
    for _ in range(4):
        if not source.left:
            break
        count, kind = 1 + source.below(3), source.below(4)
        content = random.Random(source.number()).randbytes(16) * (count * PAGE_BYTES // 16)
        packed = bytearray(pack(content if kind else content + source.take(source.below(40))))
        for _ in range(source.below(4)):
            packed[source.number() % len(packed)] ^= source.number()
        if kind == 1:  # bytes of the input's own
            packed[:] = source.take(source.number())
        stream += packet("pc.ram", [(i, bytes(packed) if not i else b"") for i in range(count)], [7], flag)
    assert _read(pieces(stream, lengths)) == _read([stream])


def _read(chunks: Iterable[bytes]) -> list[object]:
    """Return the pages, and at the end the error's place if there was one."""
    reader = ChannelReader(buffer_bytes=1)
    reader.table = _TABLE
    found: list[object] = []
    try:
        for chunk in [*chunks, b""]:
            for event in reader.feed(chunk):
                if isinstance(event, Pages):
                    batch = event.batch
                    for page, kind, at in zip(batch.page, batch.kind, batch.position, strict=True):
                        content = batch.buffer[at : at + PAGE_BYTES].tobytes() if kind else b""
                        found.append((int(page), content))
                elif event is Signal.END:
                    return found
    except StreamError as error:
        check_line(error)
        found.append(error.offset)
    return found


def seeds() -> Iterator[bytes]:
    rng = random.Random(5)
    for count in (3, 12, 40, 120):
        for ways in range(4):
            yield bytes([255, 3, 70, ways & 1, ways >> 1]) + rng.randbytes(count)


TARGET = Target(fuzz_one, seeds, most_bytes=400)
