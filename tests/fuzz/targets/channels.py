"""Compressed channels: whatever a stream says, main and packets together make the image that it makes.

An input is a program that writes a stream and puts some bytes of it wrong, as for `thinner`. The packets are
read by a destination that has nothing of ours but the reader of main, at three paces.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from unittest import mock

import numpy as np

from pagethrift.errors import StreamError
from pagethrift.model.channels import ChannelSettings, SyncMode
from pagethrift.model.pages import U8
from pagethrift.stream import sections
from pagethrift.stream.image import image
from tests.destination import UUID, Carried, load, repeats_at_the_end, thin_over_channels
from tests.fuzz.target import Bytes, Target, check_line
from tests.fuzz.targets.thinner import MOST_RAM_BYTES, before, strategy, write

PACES = ("main", "channels", "random")
MODES = tuple(SyncMode)


def fuzz_one(data: bytes) -> None:
    source = Bytes(data)
    seed, chosen, mode = source.number(2), source.number(), MODES[source.below(2)]
    over = ChannelSettings(1 + source.below(3), UUID, window_log=20, long_distance=bool(source.below(2)))
    stream = write(source, return_path=True)
    with mock.patch.object(sections, "MAX_RAM_BYTES", MOST_RAM_BYTES):
        check(stream, chosen, seed, mode, over)


def check(stream: bytes, chosen: int, seed: int, mode: SyncMode, over: ChannelSettings) -> None:
    """Thin a stream for a destination with channels; compare what it loads with the stream's own image."""
    expected, refused = None, None
    with suppress(StreamError):
        expected = image(stream, before)
    try:
        carried = thin_over_channels(stream, strategy(chosen, seed), seed, mode, over)
    except StreamError as error:
        check_line(error)
        refused = error
    if refused is not None:
        assert expected is None or _may_refuse(stream, refused), f"refused a valid stream: {refused}"
        return
    assert expected is not None, "took a stream that breaks the format"
    compare(carried, expected.memory, bytes(expected.tail), seed)


def compare(carried: Carried, memory: U8, tail: bytes, seed: int) -> None:
    """Load what the sockets carried, in three orders."""
    for pace in PACES:
        got, rest = load(carried, before, pace, seed)
        assert np.array_equal(got, memory), f"another image at pace {pace}"
        assert rest == tail


def _may_refuse(stream: bytes, error: StreamError) -> bool:
    """Whether a valid stream cannot go over channels: QEMU never sends these."""
    if "return path" in str(error) or "for compressed channels" in str(error):
        return True
    return "each page once in the last section" in str(error) and repeats_at_the_end(stream)


def seeds() -> Iterator[bytes]:
    rng = random.Random(3)
    for count in (20, 60, 150, 400):
        for chosen in range(0, 60, 3):
            for mode in (0, 1):
                yield rng.randbytes(2) + bytes([chosen, mode, rng.randrange(3), 0]) + rng.randbytes(count)


TARGET = Target(fuzz_one, seeds, most_bytes=600)
