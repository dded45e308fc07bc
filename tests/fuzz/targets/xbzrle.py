"""The XBZRLE decoder: the kernel and its twin agree, and neither writes outside its page."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pagethrift.stream.xbzrle import apply_delta
from tests.fuzz.target import Bytes, Target
from tests.unit.twins import PAGE, BrokenPayload, decode_xbzrle, put_uleb

GUARD = 64
"""bytes before and behind the page and the payload that nobody may touch"""
_OLD = [bytes((7 * i + each) % 251 + 1 for i in range(PAGE)) for each in range(4)]


def fuzz_one(data: bytes) -> None:
    source = Bytes(data)
    old = _OLD[source.below(4)]
    payload = source.rest()
    memory = np.full(PAGE + 2 * GUARD, 0xA5, np.uint8)
    memory[GUARD : GUARD + PAGE] = np.frombuffer(old, np.uint8)
    given = np.frombuffer(b"\x5a" * GUARD + payload + b"\x5a" * GUARD, np.uint8)
    broken = apply_delta(given, GUARD, len(payload), memory, GUARD)
    assert 0 <= broken <= len(payload) + 1
    assert (memory[:GUARD] == 0xA5).all(), "written before the page"
    assert (memory[GUARD + PAGE :] == 0xA5).all(), "written behind the page"
    try:
        expected = decode_xbzrle(payload, old)
    except BrokenPayload:
        assert broken, "the twin refuses it"
        return
    assert not broken, f"the twin takes it, refused at {broken - 1}"
    assert memory[GUARD : GUARD + PAGE].tobytes() == expected


def seeds() -> Iterator[bytes]:
    for runs in (
        [], [(0, 1)], [(0, PAGE)], [(PAGE - 1, 1)], [(127, 128), (128, 127)], [(0, 2), (300, 5), (7, 200)],
        [(PAGE, 1)], [(0, PAGE + 1)], [(0, 0)], [(5, 3), (0, 3)], [(16383, 1)],
    ):  # fmt: skip
        data = b"".join(put_uleb(skip) + put_uleb(new) + bytes(range(1, 256)) * 17 for skip, new in runs[:1])
        yield b"\1" + data[: 4 + sum(new for _, new in runs)]
        whole = b"".join(put_uleb(skip) + put_uleb(new) + (b"\x77" * new) for skip, new in runs)
        yield b"\2" + whole
        yield b"\2" + whole[:-1]
        yield b"\2" + whole + b"\1"


TARGET = Target(fuzz_one, seeds, most_bytes=6000)
