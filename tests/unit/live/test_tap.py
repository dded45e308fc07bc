"""The recorder's end of QEMU's migration socket."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator

import pytest

from pagethrift.errors import LinkError
from pagethrift.live.tap import SocketTap


@pytest.fixture
def tap() -> Iterator[SocketTap]:
    made = SocketTap()
    yield made
    made.close()


def test_no_byte_is_lost_to_a_timeout(tap: SocketTap) -> None:
    """Bytes that come just when the reader gives up belong to the next read."""
    wanted = random.Random(1).randbytes(2000)
    timeout_s = 0.001

    def write() -> None:
        for byte in wanted:
            tap._theirs.send(bytes([byte]))
            time.sleep(timeout_s / 3)

    async def read() -> bytes:
        got, room = b"", memoryview(bytearray(64))
        while len(got) < len(wanted):
            if count := await tap.read_into(room, timeout_s):
                got += room[:count]
            time.sleep(timeout_s)  # so that timeout and bytes are due in one turn of the loop
        return got

    writer = threading.Thread(target=write)
    writer.start()
    assert asyncio.run(asyncio.wait_for(read(), 20)) == wanted
    writer.join()


def test_nothing_in_time_and_a_closed_end(tap: SocketTap) -> None:
    async def read() -> None:
        room = memoryview(bytearray(8))
        assert await tap.read_into(room, 0.01) == 0
        tap.cut()
        with pytest.raises(LinkError, match="closed"):
            await tap.read_into(room, 0.01)

    asyncio.run(read())
