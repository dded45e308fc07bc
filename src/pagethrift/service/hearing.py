"""What a client of the service says first, without taking it: whoever gets the connection reads it all.

So that nobody waits for ever, a client that says nothing is given to its destination after a while: the
destination may be the one who speaks first. What the client says afterwards is still heard, as long as the
destination is silent: a migration's source may have been slow.
"""

from __future__ import annotations

import asyncio
import select
import socket
from enum import Enum, auto

from pagethrift.stream.opening import OPENING_BYTES, Opening, judge

BEGUN_S = 5.0
"""for a client that began like a migration and stopped in mid-word: QEMU writes it at once, a lost segment
comes again within a second"""
STEP_S = 0.02
"""how often the rest of a word is looked for: what was seen and not taken wakes nobody"""


class Word(Enum):
    """A client's first word."""

    MAIN = auto()
    """a migration begins"""
    CHANNEL = auto()
    """one of a migration's multifd channels"""
    TLS = auto()
    OTHER = auto()
    NOTHING = auto()
    """the client was silent for as long as it may be"""
    END = auto()
    """the client closed, and had said nothing"""
    ANSWER = auto()
    """the destination spoke before the client, or closed"""


_WORDS = {
    Opening.MAIN: Word.MAIN,
    Opening.GREETED: Word.CHANNEL,
    Opening.CHANNEL: Word.CHANNEL,
    Opening.TLS: Word.TLS,
    Opening.STRANGER: Word.OTHER,
}


async def first_word(
    client: socket.socket, patience_s: float | None, destination: socket.socket | None = None
) -> Word:
    """Wait for a client's first word, for at most ``patience_s``; None: for ever.

    ``destination``: it may speak first.
    """
    clock = asyncio.get_running_loop().time
    until_s = None if patience_s is None else clock() + patience_s
    seen = 0
    while True:
        left_s = None if until_s is None else max(0.0, until_s - clock())
        ready = await readable([client] if destination is None else [client, destination], left_s)
        if not ready:
            return Word.NOTHING
        if destination in ready:
            return Word.ANSWER
        try:
            head = client.recv(OPENING_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue
        except OSError:
            return Word.END
        if not head:
            return Word.END
        if word := _WORDS.get(judge(head)):
            return word
        if not seen:
            until_s = clock() + BEGUN_S
        elif until_s is not None and clock() >= until_s:
            return Word.OTHER
        if len(head) == seen:
            await asyncio.sleep(STEP_S)
        seen = len(head)


async def readable(sockets: list[socket.socket], timeout_s: float | None) -> list[socket.socket]:
    """Wait until one of some sockets can be read, or has ended; return which, none after ``timeout_s``."""
    loop = asyncio.get_running_loop()
    woken = loop.create_future()

    def wake() -> None:
        if not woken.done():
            woken.set_result(None)

    try:
        for each in sockets:
            loop.add_reader(each, wake)
        await asyncio.wait([woken], timeout=timeout_s)
    finally:
        for each in sockets:
            deaf(each)
    waiting = select.poll()
    for each in sockets:
        waiting.register(each, select.POLLIN)
    found = {descriptor for descriptor, _ in waiting.poll(0)}
    return [each for each in sockets if each.fileno() in found]


def deaf(connection: socket.socket | None) -> None:
    """Listen to a socket no more.

    Call it before a socket is closed or given away while somebody may wait for it: the kernel goes on
    reporting one that lives on in another process, and the number may be another socket's by then.
    """
    if connection is not None and connection.fileno() >= 0:
        asyncio.get_running_loop().remove_reader(connection)


def hung_up(connection: socket.socket) -> bool:
    """Say whether the other end says nothing more, although what it said before was not read yet."""
    return _is(connection, select.POLLRDHUP)


def broken(connection: socket.socket) -> bool:
    """Say whether a connection is closed in both directions: it is of no use to anybody."""
    return _is(connection, 0)


def _is(connection: socket.socket, events: int) -> bool:
    waiting = select.poll()
    try:
        waiting.register(connection, events)  # errors are reported in any case
        return bool(waiting.poll(0))
    except (OSError, ValueError):  # closed here
        return True
