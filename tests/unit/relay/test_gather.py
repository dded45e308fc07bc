"""While the link is busy main's bytes are gathered; while it waits they are used at once."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagethrift.address import Address
from pagethrift.engine.output import Output, PauseReason
from pagethrift.engine.thinner import Thinner
from pagethrift.errors import StreamError
from pagethrift.relay.intake import Intake
from pagethrift.strategies.table import strategy
from pagethrift.stream.synthetic import StreamBuilder

PIECE = bytes(StreamBuilder().parts[0])[:24]
"""the beginning of a stream, no more: the header, the machine's name, two bytes of a section"""


class Source:
    """A QEMU that writes one more piece each time the relay asks whether its link is busy."""

    def __init__(self, folder: Path, pieces: int) -> None:
        self.thinner = Thinner(strategy("pagethrift"), bytes(32))
        address = Address(path=str(folder / "near"))
        self.intake = Intake(address, self.thinner)
        self.intake.receive_bytes = 1 << 20
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(address.path)
        self.left = pieces
        self.write()
        self.intake.wait_for_main()

    def write(self) -> None:
        self.socket.sendall(PIECE)
        self.left -= 1

    def busy_link(self) -> bool:
        if self.left:
            self.write()
        return True

    def close(self) -> None:
        self.socket.close()
        self.intake.close()


@pytest.fixture
def source(folder: Path) -> Iterator[Source]:
    source = Source(folder, pieces=5)
    yield source
    source.close()


def test_a_busy_link_lets_main_gather(source: Source) -> None:
    source.intake.fill(source.busy_link)
    assert source.thinner.in_bytes == 5 * len(PIECE)


def test_an_idle_link_gets_what_there_is_at_once(source: Source) -> None:
    def idle_link() -> bool:
        source.write()
        return False

    source.intake.fill(idle_link)
    assert source.thinner.in_bytes == len(PIECE)


def test_no_more_is_gathered_than_may_be_received_ahead(source: Source) -> None:
    source.intake.receive_bytes = 1
    room = len(source.thinner.room(1))  # the longest record fits
    source.left = 2 + room // len(PIECE)
    source.intake.fill(source.busy_link)
    assert source.thinner.in_bytes == room


def test_the_end_while_gathering_is_seen_after_the_bytes_before_it(source: Source) -> None:
    def link_that_outlives_the_source() -> bool:
        source.socket.close()
        return True

    out = Output()
    source.intake.fill(link_that_outlives_the_source)
    assert source.thinner.in_bytes == len(PIECE)
    assert source.thinner.run(out, 0.0) is PauseReason.NEED_INPUT
    source.intake.fill(lambda: True)
    with pytest.raises(StreamError, match="its end"):
        source.thinner.run(out, 0.0)
