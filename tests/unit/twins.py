"""Plain, slow, obvious twins of the kernels: Python integers and loops, nothing shared with the code."""

from __future__ import annotations

from dataclasses import dataclass, field

PAGE = 4096
PRIME = 2**64 - 59


def words_of(data: bytes) -> list[int]:
    """Little-endian 32-bit words."""
    return [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]


def nh(data: bytes, key: list[int]) -> int:
    """NH over 32-bit words: sums modulo 2^32, products added modulo 2^64."""
    words = words_of(data)
    total = 0
    for i in range(0, len(words), 2):
        total += ((words[i] + key[i]) % 2**32) * ((words[i + 1] + key[i + 1]) % 2**32)
    return total % 2**64


def fold(value: int, key: list[int]) -> int:
    """Multilinear hash of four 32-bit words modulo 2^64 - 59."""
    return sum((value >> 32 * i) % 2**32 * key[i] for i in range(4)) % PRIME


def signature(data: bytes, key: bytes) -> int:
    """The signature of one subpage under the keys of two lanes of NH and of the fold, in this order."""
    first, second, rest = key[: len(data)], key[len(data) : 2 * len(data)], key[2 * len(data) :]
    both = nh(data, words_of(first)) + (nh(data, words_of(second)) << 64)
    return fold(both, [int.from_bytes(rest[i : i + 8], "little") for i in range(0, 32, 8)])


class BrokenPayload(Exception):
    """QEMU's loader would refuse it."""


def uleb(data: bytes) -> tuple[int, int]:
    """QEMU's uleb128_decode_small: value and bytes taken."""
    if data[0] < 0x80:
        return data[0], 1
    if data[1] >= 0x80:
        raise BrokenPayload("more than 14 bits")
    return data[0] - 0x80 + 128 * data[1], 2


def decode_xbzrle(payload: bytes, old: bytes) -> bytes:
    """QEMU's xbzrle_decode_buffer, rule by rule."""
    page = bytearray(old)
    i = done = 0
    while i < len(payload):
        if len(payload) - i < 2:
            raise BrokenPayload("no room for an unchanged run and more")
        unchanged, taken = uleb(payload[i:])
        if i > 0 and unchanged == 0:
            raise BrokenPayload("an empty unchanged run inside")
        i += taken
        done += unchanged
        if done > PAGE:
            raise BrokenPayload("unchanged past the page")
        if len(payload) - i < 2:
            raise BrokenPayload("no room for a new run and a byte")
        new, taken = uleb(payload[i:])
        if new == 0:
            raise BrokenPayload("an empty new run")
        i += taken
        if done + new > PAGE:
            raise BrokenPayload("new bytes past the page")
        if i + new > len(payload):
            raise BrokenPayload("new bytes past the payload")
        page[done : done + new] = payload[i : i + new]
        done += new
        i += new
    return bytes(page)


def put_uleb(value: int) -> bytes:
    """QEMU's uleb128_encode_small."""
    return bytes([value]) if value < 128 else bytes([value % 128 + 128, value // 128])


@dataclass
class Cut:
    """Records as (page, kind, position, length), and where and why the cutter stopped."""

    records: list[tuple[int, int, int, int]] = field(default_factory=list)
    position: int = 0
    block: int = -1
    stop: str = ""


def cut_records(data: bytes, end: int, block: int, blocks: list[tuple[bytes, int]], room: int) -> Cut:
    """Parse page records as QEMU's ram_load_precopy does; ``blocks`` are (name, pages)."""
    cut = Cut(block=block)
    while not cut.stop:
        cut.stop = _one_record(data[:end], cut, blocks, room)
    return cut


def _one_record(data: bytes, cut: Cut, blocks: list[tuple[bytes, int]], room: int) -> str:
    if len(cut.records) == room:
        return "ROOM"
    rest = data[cut.position :]
    if len(rest) < 8:
        return "NEED_DATA"
    word = int.from_bytes(rest[:8], "big")
    flags, index = word % 4096, word // 4096
    if flags == 0x10:
        return "EOS"
    if flags == 0x200:
        return "FLUSH"
    if flags & ~0x20 not in (0x02, 0x08, 0x40):
        return "BAD_FLAGS"
    taken, block = 8, cut.block
    if flags & 0x20:
        if block < 0:
            return "NO_BLOCK"
    else:
        if len(rest) < 9 or len(rest) < 9 + rest[8]:
            return "NEED_DATA"
        names = [name for name, _ in blocks]
        name = rest[9 : 9 + rest[8]]
        if name not in names:
            return "UNKNOWN_BLOCK"
        block = names.index(name)
        taken += 1 + len(name)
    if index >= blocks[block][1]:
        return "OUT_OF_RANGE"
    head, rest = 0, rest[taken:]
    match flags & ~0x20:
        case 0x08:
            kind, length = 1, PAGE
        case 0x02:
            kind, length = 0, 1
            if not rest:
                return "NEED_DATA"
            if rest[0]:
                return "BAD_ZERO"
        case _:
            kind, head = 2, 3
            if len(rest) < 3:
                return "NEED_DATA"
            length = rest[1] * 256 + rest[2]
            if rest[0] != 1 or length > PAGE:
                return "BAD_XBZRLE"
    if len(rest) < head + length:
        return "NEED_DATA"
    page = sum(pages for _, pages in blocks[:block]) + index
    if page in [record[0] for record in cut.records]:
        return "REPEATED"
    cut.records.append((page, kind, cut.position + taken + head, length))
    cut.position += taken + head + length
    cut.block = block
    return ""


def load(
    records: bytes, blocks: list[tuple[bytes, int]], memory: dict[int, bytes], block: int = -1
) -> tuple[int, int]:
    """Load page records onto ``memory`` (page -> content) as a destination, up to what is none.

    Returns the bytes taken and the block CONTINUE refers to.
    """
    cut = Cut(block=block)
    while cut.position < len(records):
        cut = Cut(position=cut.position, block=cut.block)
        stop = _one_record(records[: cut.position + 5000], cut, blocks, 1)
        if stop == "EOS":
            break
        assert not stop, stop
        [(page, kind, at, length)] = cut.records
        match kind:
            case 0:
                memory[page] = bytes(PAGE)
            case 1:
                memory[page] = records[at : at + PAGE]
            case _:
                memory[page] = decode_xbzrle(records[at : at + length], memory[page])
    return cut.position, cut.block


def load_stream(stream: bytes, blocks: list[tuple[bytes, int]], memory: dict[int, bytes]) -> bytes:
    """Load a synthetic stream onto ``memory``; return what follows RAM's END section."""
    first = stream.index(b"\x7e") + 5
    section, block = stream[first:], -1
    while True:
        assert section[0] in (2, 3)
        taken, block = load(section[5:], blocks, memory, block)
        end = 5 + taken + 8
        assert section[end : end + 5] == b"\x7e" + section[1:5]
        if section[0] == 3:
            return section[end + 5 :]
        section = section[end + 5 :]
