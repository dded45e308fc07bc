"""The oracle itself, against a destination of plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from pagethrift.errors import StreamError
from pagethrift.model.pages import Block
from pagethrift.stream.image import Image, image
from pagethrift.stream.synthetic import StreamBuilder
from tests.streams import before, random_stream, seeds
from tests.unit import twins
from tests.unit.stream.pieces import (
    HEADER,
    PAGE,
    TAIL,
    be64,
    configuration,
    idstr,
    page,
    part,
    ram_start,
    whole,
    zero,
)

HEAD = HEADER + configuration() + ram_start()


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_the_image_is_what_a_plain_loader_makes(seed: int) -> None:
    stream = random_stream(seed, records=40)
    found = image(stream, before)
    assert found.table is not None
    memory: dict[int, bytes] = {}
    for row in found.table.blocks:
        content = before(row).tobytes()
        memory |= {row.first_page + i: content[4096 * i : 4096 * i + 4096] for i in range(row.pages)}
    tail = twins.load_stream(stream, [(block.name, block.pages) for block in found.table.blocks], memory)
    assert found.memory.tobytes() == b"".join(memory[i] for i in sorted(memory))
    assert bytes(found.tail) == tail


def test_xbzrle_is_applied_onto_what_was_there() -> None:
    builder = StreamBuilder([("pc.ram", 2)])
    builder.begin_body(last=True)
    builder.page(0, 1, PAGE)
    builder.delta(0, 1, b"\x10\x03new")
    builder.delta(0, 0, b"\x00\x01\x09")
    builder.end_body()
    ram = (
        image(builder.finish(), lambda block: np.full(block.used_bytes, 7, np.uint8))
        .block("pc.ram")
        .tobytes()
    )
    assert ram == b"\x09" + b"\x07" * 4095 + PAGE[:16] + b"new" + PAGE[19:]


def test_a_broken_payload_names_the_page() -> None:
    broken = be64(4096 | 0x40) + idstr(b"pc.ram") + b"\x01\x00\x01\x00"
    with pytest.raises(StreamError, match="a broken one for page 1"):
        image(HEAD + part(page(0), broken, last=True) + TAIL)


def test_the_last_version_wins() -> None:
    newer = PAGE[::-1]
    ram = image(HEAD + part(page(2), zero(2, None), page(2, None, newer), last=True) + TAIL).block("pc.ram")
    assert ram[2 * 4096 : 3 * 4096].tobytes() == newer
    assert not ram[3 * 4096 :].any()


def test_blocks_before_and_after() -> None:
    def rom_only(block: Block) -> np.ndarray | None:
        return np.full(block.used_bytes, 0xF0, np.uint8) if block.name == b"pc.bios" else None

    result = image([whole(), b"", b"more"], rom_only)
    assert (result.block("pc.bios") == 0xF0).all()
    assert result.block("pc.ram")[3 * 4096 : 4 * 4096].tobytes() == PAGE
    assert result.block("pc.ram").sum() == sum(PAGE)
    assert bytes(result.tail) == TAIL + b"more"
    assert result.ram_over
    with pytest.raises(KeyError):
        result.block("pc.rom")


def test_a_cut_stream_is_an_error() -> None:
    single = Image()
    single.feed(whole()[: -len(TAIL) - 1])
    with pytest.raises(StreamError, match="got its end"):
        single.feed(b"")
    assert not single.ram_over


def test_blocks_whose_names_are_no_text() -> None:
    stream = StreamBuilder([("pc.ram", 1), ("r", 1)])
    stream.begin_body(last=True)
    stream.page(1, 0, PAGE)
    stream.end_body()
    found = image(stream.finish().replace(b"\x06pc.ram", b"\x06pc\xbdram"))
    assert found.block("r").tobytes() == PAGE
