"""The builder's bytes, against a stream put together by hand."""

from __future__ import annotations

import numpy as np

from pagethrift.stream.image import image
from pagethrift.stream.synthetic import StreamBuilder
from tests.unit.stream import pieces
from tests.unit.stream.pieces import (
    HEADER,
    PAGE,
    TAIL,
    be64,
    block_list,
    configuration,
    page,
    part,
    ram_start,
    read_three_ways,
    zero,
)


def test_every_byte() -> None:
    builder = StreamBuilder([("pc.ram", 8), ("pc.bios", 2)])
    builder.begin_body()
    builder.page(0, 3, PAGE)
    builder.page(0, 4, np.frombuffer(PAGE, np.uint8))
    builder.page(1, 1, b"")
    builder.delta(1, 1, b"\x00\x02hi")
    builder.end_body()
    builder.begin_body(last=True)
    builder.page(1, 0, PAGE)
    builder.end_body()
    delta = be64(4096 | 0x60) + b"\x01\x00\x04\x00\x02hi"
    assert builder.finish(TAIL) == b"".join(
        [
            HEADER, configuration(machine=b"synthetic"), ram_start(block_list(), section=pieces.RAM),
            part(page(3), page(4, None), zero(1, b"pc.bios"), delta), part(page(0, None), last=True), TAIL,
        ]
    )  # fmt: skip


def test_the_default_stream_is_read_to_its_end() -> None:
    builder = StreamBuilder()
    builder.begin_body(last=True)
    builder.page(0, 15, PAGE)
    builder.end_body()
    stream = builder.finish()
    seen = read_three_ways(stream)
    assert seen.pages == [(15, 1, PAGE)]
    assert image(stream).block("pc.ram")[15 * 4096 :].tobytes() == PAGE
