"""The first word of a client is heard and left in its socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from pagethrift.service import hearing
from pagethrift.service.hearing import Word, broken, deaf, first_word, hung_up, readable
from pagethrift.stream.packets import PacketFlag
from pagethrift.stream.synthetic import StreamBuilder, handshake, packet

MAIN = StreamBuilder().finish()
CHANNEL = handshake(1)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = socket.create_connection(listener.getsockname())
        near, _ = listener.accept()
    near.setblocking(False)
    yield near, far
    near.close()
    far.close()


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (MAIN, Word.MAIN),
        (CHANNEL, Word.CHANNEL),
        (CHANNEL + packet(flags=PacketFlag.SYNC), Word.CHANNEL),
        (b"\x16\x03\x01\x02\x00\x01", Word.TLS),
        (b"GET / HTTP/1.1\r\n\r\n", Word.OTHER),
        (b"QUIT\r\n", Word.OTHER),
        (b"", Word.NOTHING),
    ],
)
def test_a_word_is_heard_and_stays(
    pair: tuple[socket.socket, socket.socket], data: bytes, word: Word
) -> None:
    near, far = pair
    far.sendall(data)
    assert asyncio.run(first_word(near, 0.1)) is word
    if data:
        assert near.recv(len(data) + 1) == data


def test_a_word_in_pieces(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair

    async def talk() -> Word:
        heard = asyncio.create_task(first_word(near, 0.2))
        for byte in MAIN[:40]:
            far.sendall(bytes([byte]))
            await asyncio.sleep(0.01)
        return await heard

    assert asyncio.run(talk()) is Word.MAIN


def test_who_begins_well_and_stops_is_waited_for_a_while(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearing, "BEGUN_S", 0.2)
    near, far = pair
    far.sendall(MAIN[:3])
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    assert asyncio.run(first_word(near, None)) is Word.OTHER
    assert time.monotonic() - began_s >= 0.2
    assert time.process_time() - began_cpu_s < 0.1, "what is seen and not taken must not keep it busy"


def test_who_closes_without_a_word(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    far.close()
    assert asyncio.run(first_word(near, 1.0)) is Word.END


def test_the_destination_may_speak_first(pair: tuple[socket.socket, socket.socket]) -> None:
    near, _ = pair
    here, there = socket.socketpair()
    with here, there:
        there.sendall(b"220 smtp.example\r\n")
        assert asyncio.run(first_word(near, None, here)) is Word.ANSWER


def test_the_client_may_still_speak_before_the_destination(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    here, there = socket.socketpair()
    with here, there:
        far.sendall(MAIN)
        assert asyncio.run(first_word(near, None, here)) is Word.MAIN


def test_who_has_hung_up_is_seen_behind_unread_bytes(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    far.sendall(MAIN)
    assert not hung_up(near)
    far.shutdown(socket.SHUT_WR)
    wait_until(lambda: hung_up(near))
    assert not broken(near), "it may still listen"
    near.sendall(b"x")
    far.close()  # with a byte unread
    wait_until(lambda: broken(near))
    near.close()
    assert hung_up(near)
    assert broken(near)


def test_a_socket_that_lives_on_elsewhere_wakes_nobody(pair: tuple[socket.socket, socket.socket]) -> None:
    """The kernel reports it, by its old number, for as long as any process has it."""
    near, far = pair

    async def wait_and_give_away() -> int:
        loop, turns = asyncio.get_running_loop(), 0
        waiting = asyncio.create_task(readable([near], None))
        await asyncio.sleep(0.01)
        kept = near.dup()
        deaf(near)
        waiting.cancel()
        near.close()
        far.sendall(b"x")
        began_s = loop.time()
        while loop.time() - began_s < 0.1:
            turns += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await asyncio.Event().wait()
        kept.close()
        return turns

    before_s = time.process_time()
    assert asyncio.run(wait_and_give_away()) <= 4
    assert time.process_time() - before_s < 0.08


def wait_until(reached: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 5
    while not reached():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
