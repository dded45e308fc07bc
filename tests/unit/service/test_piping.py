"""What is no migration passes untouched: bytes, each direction's end, and errors."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections.abc import Callable

import pytest

from pagethrift.service.piping import Pipe
from pagethrift.sockets import break_on_close


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = socket.create_connection(listener.getsockname(), 5)
        near, _ = listener.accept()
    far.settimeout(5)
    return near, far


def piped(play: Callable[[socket.socket, socket.socket], None]) -> tuple[Pipe, OSError | None]:
    """Run a pipe while both ends play."""
    (near, client), (far, server) = tcp_pair(), tcp_pair()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            play(client, server)
        except BaseException as error:
            errors.append(error)
        finally:
            client.close()
            server.close()

    async def carry() -> tuple[Pipe, OSError | None]:
        pipe = Pipe(near, far)
        player.start()
        return pipe, await asyncio.wait_for(pipe.run(), 20)

    player = threading.Thread(target=run)
    found = asyncio.run(carry())
    player.join(5)
    if errors:
        raise errors[0]
    assert near.fileno() == far.fileno() == -1
    return found


def everything(connection: socket.socket) -> bytes:
    data = bytearray()
    while piece := connection.recv(1 << 16):
        data += piece
    return bytes(data)


def test_each_directions_end_is_kept_apart() -> None:
    def play(client: socket.socket, server: socket.socket) -> None:
        client.sendall(b"all I have to say")
        client.shutdown(socket.SHUT_WR)
        assert everything(server) == b"all I have to say"
        server.sendall(b"and an answer")
        server.close()
        assert everything(client) == b"and an answer"

    pipe, error = piped(play)
    assert (pipe.out_bytes, pipe.back_bytes, error) == (17, 13, None)


def test_the_server_may_end_first() -> None:
    def play(client: socket.socket, server: socket.socket) -> None:
        server.sendall(b"220 ready\r\n")
        server.shutdown(socket.SHUT_WR)
        assert everything(client) == b"220 ready\r\n"
        client.sendall(b"QUIT\r\n")
        client.close()
        assert everything(server) == b"QUIT\r\n"

    assert piped(play)[1] is None


def test_megabytes_in_both_directions_while_one_end_reads_late() -> None:
    there, back = random.Random(1).randbytes(8 << 20), random.Random(2).randbytes(3 << 20)

    def play(client: socket.socket, server: socket.socket) -> None:
        def send() -> None:
            client.sendall(there)
            client.shutdown(socket.SHUT_WR)

        def reply() -> None:
            server.sendall(back)
            server.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        answer = threading.Thread(target=reply)
        answer.start()
        assert everything(client) == back
        assert everything(server) == there
        sender.join()
        answer.join()

    pipe, error = piped(play)
    assert (pipe.out_bytes, pipe.back_bytes, error) == (len(there), len(back), None)


def test_an_error_stays_an_error() -> None:
    def play(client: socket.socket, server: socket.socket) -> None:
        client.sendall(b"x")
        assert server.recv(1) == b"x"
        break_on_close(client)
        client.close()
        with pytest.raises(ConnectionResetError):
            everything(server)

    _, error = piped(play)
    assert isinstance(error, ConnectionResetError)


def test_a_pipe_that_is_ended_breaks_both_connections() -> None:
    async def carry() -> None:
        task = asyncio.create_task(Pipe(near, far).run())
        client.sendall(b"x")
        assert await asyncio.to_thread(server.recv, 1) == b"x"
        task.cancel()
        await asyncio.wait([task])

    (near, client), (far, server) = tcp_pair(), tcp_pair()
    asyncio.run(carry())
    for each in (client, server):
        with each, pytest.raises(ConnectionResetError):
            each.recv(1)


def test_who_was_told_everything_gets_it_although_the_pipe_is_ended() -> None:
    """The client has ended; what it said last is still in the kernel when the pipe is cancelled."""

    async def carry() -> None:
        task = asyncio.create_task(Pipe(near, far).run())
        await asyncio.to_thread(client.sendall, said)
        client.shutdown(socket.SHUT_WR)
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.wait([task])

    (near, client), (far, server) = tcp_pair(), tcp_pair()
    said = random.Random(1).randbytes(300_000)
    asyncio.run(carry())
    with client, server:
        assert everything(server) == said


def test_one_busy_pipe_does_not_keep_others_waiting() -> None:
    """Bytes that are always there would otherwise never let the loop go."""

    async def carry() -> float:
        (near, client), (far, server) = tcp_pair(), tcp_pair()
        loop = asyncio.get_running_loop()
        stopped = threading.Event()

        def flood() -> None:
            data = bytes(1 << 20)
            try:
                while not stopped.is_set():
                    client.sendall(data)
            except OSError:
                pass

        def swallow() -> None:
            try:
                while server.recv(1 << 20):
                    pass
            except OSError:
                pass

        threads = [threading.Thread(target=each, daemon=True) for each in (flood, swallow)]
        for each in threads:
            each.start()
        pipe = asyncio.create_task(Pipe(near, far).run())
        longest_s = 0.0
        for _ in range(50):
            before_s = loop.time()
            await asyncio.sleep(0.002)
            longest_s = max(longest_s, loop.time() - before_s)
        stopped.set()
        pipe.cancel()
        await asyncio.gather(pipe, return_exceptions=True)
        client.close()
        server.close()
        for each in threads:
            each.join(5)
        return longest_s

    assert asyncio.run(carry()) < 1.0
