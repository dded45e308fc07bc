"""What a destination holds after a multifd migration, read plainly: no code of the relay's, few rules.

Marks of main (MULTIFD_FLUSH, or the end of each section of RAM) and the SYNCs of every channel cut time
into epochs. In an epoch channels and main run side by side: a page that two of them carry may end as either.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import zstandard

from pagethrift.model.pages import U8, Block
from pagethrift.stream.image import Image
from tests.multifd import MAIN, Migration
from tests.unit.twins import PAGE, Cut, _one_record

Place: TypeAlias = tuple[bytes, int]
"""block and page in it"""
Epoch: TypeAlias = dict[Place, bytes]


def check(it: Migration, got: Image, before: Callable[[Block], U8 | None]) -> None:
    """Assert that an image and what follows it are such as a script's sockets allow. Raises Unsure."""
    sockets = {to: b"".join(data for at, data in it.script if at == to) for to in range(MAIN, it.channels)}
    main = read_main(sockets.pop(MAIN))
    assert got.table is not None
    blocks = got.table.blocks
    assert [(block.name, block.pages) for block in blocks] == main.blocks
    held: Epoch = {}
    for block in blocks:
        content = before(block)
        whole = (
            bytes(block.pages * PAGE)
            if content is None
            else content.tobytes().ljust(block.pages * PAGE, b"\0")
        )
        held.update({(block.name, page): whole[page * PAGE :][:PAGE] for page in range(block.pages)})
    first_page = {block.name: block.first_page for block in blocks}
    for (name, page), contents in allowed(main, sockets.values(), held).items():
        at = (first_page[name] + page) * PAGE
        assert got.memory[at : at + PAGE].tobytes() in contents, f"{name!r} page {page}"
    assert bytes(got.tail) == main.tail


class Unsure(Exception):
    """Something stands in main that these rules do not know."""


@dataclass
class Main:
    """Main, read to the end of RAM."""

    blocks: list[tuple[bytes, int]] = field(default_factory=list)
    """name and pages"""
    epochs: list[Epoch] = field(default_factory=list)
    """what its own records left, between one mark and the next"""
    tail: bytes = b""


def allowed(main: Main, channels: Iterable[bytes], before: Mapping[Place, bytes]) -> dict[Place, set[bytes]]:
    """Return for every page the contents it may end with."""
    result = {place: {content} for place, content in before.items()}
    read = [read_channel(channel) for channel in channels]
    for number, own in enumerate(main.epochs):
        sources = [own, *(epochs[number] for epochs in read if number < len(epochs))]
        for place in {place for source in sources for place in source}:
            result[place] = {source[place] for source in sources if place in source}
    return result


def read_channel(data: bytes) -> list[Epoch]:
    """Return what each epoch of a channel carried; what is not whole at the end is left out."""
    epochs: list[Epoch] = [{}]
    at = 64
    unpack: list[Callable[[bytes], bytes]] = []
    while len(data) - at >= 1344:
        flags, normal, zero = (int.from_bytes(data[at + k : at + k + 4], "big") for k in (8, 16, 32))
        name = data[at + 64 : at + 320].split(b"\0")[0]
        offsets = [int.from_bytes(data[at + 320 + 8 * i :][:8], "big") for i in range(normal + zero)]
        size = int.from_bytes(data[at + 20 : at + 24], "big") if normal else 0
        at += 1344
        pages = data[at : at + size]
        if normal and flags & 6:
            unpack = unpack or [zlib.decompressobj().decompress if flags & 2 else _zstd()]
            try:
                pages = unpack[0](pages)
            except (zlib.error, zstandard.ZstdError):
                return epochs
        at += size
        for i, offset in enumerate(offsets):
            content = pages[i * PAGE : (i + 1) * PAGE] if i < normal else bytes(PAGE)
            if len(content) == PAGE:
                epochs[-1][name, offset // PAGE] = content
        if flags & 1:
            epochs.append({})
    return epochs


def _zstd() -> Callable[[bytes], bytes]:
    """Decompress frame after frame, each where the one before ended."""
    state = [zstandard.ZstdDecompressor().decompressobj()]

    def unpack(data: bytes) -> bytes:
        found = b""
        while data:
            found += state[0].decompress(data)
            data = state[0].unused_data
            if state[0].eof:
                state[0] = zstandard.ZstdDecompressor().decompressobj()
            else:
                data = b""
        return found

    return unpack


def read_main(data: bytes) -> Main:
    """Read main: header, RAM's block list, sections of RAM and vfio. Raises Unsure."""
    result = Main(epochs=[{}])
    at, ram, block, per_section = 8, b"", -1, True
    first = True
    while True:
        kind, number = data[at : at + 1], data[at + 1 : at + 5]
        if kind == b"\x07":
            at += 5 + int.from_bytes(number, "big")
            continue
        if kind == b"\x01" and data[at + 5 : at + 9] == b"\x03ram":
            ram, at = number, _blocks(data, at + 17, result)
        elif kind == b"\x08":
            at += 5 + int.from_bytes(data[at + 3 : at + 5], "big")
            continue
        elif kind == b"\x01":
            name, at = data[at + 6 : at + 6 + data[at + 5]], at + 14 + data[at + 5]
            at = _other(data, at, number) if name.endswith(b"/vfio") else _behind_footer(data, at, number)
            continue
        elif kind in (b"\x02", b"\x03") and number == ram:
            at += 5
        elif kind == b"\x02":
            at = _other(data, at + 5, number)
            continue
        else:
            raise Unsure(f"section {kind!r}")
        while True:
            cut = Cut(block=block)
            stop = _one_record(data[at : at + 5000], cut, result.blocks, 1)
            if stop in ("EOS", "FLUSH"):
                at += 8
                per_section = per_section and not (first and stop == "FLUSH")
                if per_section == (stop == "EOS"):
                    result.epochs.append({})
                if stop == "EOS":
                    break
                continue
            assert not stop, f"record at {at}: {stop}"
            (page, record, where, _), block = cut.records[0], cut.block
            content = bytes(PAGE) if record == 0 else data[at + where : at + where + PAGE]
            if record > 1:
                raise Unsure("XBZRLE")
            begin = sum(pages for _, pages in result.blocks[:block])
            result.epochs[-1][result.blocks[block][0], page - begin] = content
            at += cut.position
        first = False
        at = _footer(data, at, number)
        if kind == b"\x03":
            result.tail = data[at:]
            return result


def _blocks(data: bytes, at: int, result: Main) -> int:
    left = int.from_bytes(data[at : at + 8], "big") & ~0xFFF
    at += 8
    while left > 0:
        name = data[at + 1 : at + 1 + data[at]]
        at += 1 + len(name)
        used = int.from_bytes(data[at : at + 8], "big")
        at += 8
        left -= used
        result.blocks.append((name, used // PAGE))
        ahead = int.from_bytes(data[at : at + 8], "big")
        at += 8 if 0 < ahead < 1 << 56 and ahead % PAGE == 0 else 0
    return at


def _other(data: bytes, at: int, number: bytes) -> int:
    while True:
        tag = data[at : at + 8]
        at += 8
        match int.from_bytes(tag, "big") & 0xFF:
            case 1:
                return _footer(data, at, number)
            case 3 | 5:
                pass
            case 4:
                at += 8 + int.from_bytes(data[at : at + 8], "big")
            case _:
                raise Unsure(f"vfio tag {tag!r}")


def _behind_footer(data: bytes, at: int, number: bytes) -> int:
    """Pass over a section whose content says nothing of RAM."""
    found = data.find(b"\x7e" + number, at)
    if found < 0:
        raise Unsure("a section without its footer")
    return found + 5


def _footer(data: bytes, at: int, number: bytes) -> int:
    if data[at : at + 5] != b"\x7e" + number:
        raise Unsure(f"no footer at {at}")
    return at + 5
