"""Carrying bytes between two sockets, in both directions, for whatever is no migration."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from pagethrift.sockets import break_on_close, end_on_close

PIECE_BYTES = 128 << 10
"""read at once; nothing is kept for a pipe in which nothing moves"""


class Pipe:
    """Two sockets that are one connection: each one's end becomes the other's, and so does an error."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        """Take over two connected sockets."""
        self._near, self._far = near, far
        for each in (near, far):
            each.setblocking(False)
            break_on_close(each)
            if each.family != socket.AF_UNIX:
                with contextlib.suppress(OSError):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.out_bytes = self.back_bytes = 0
        self.moved_s = asyncio.get_running_loop().time()
        """when something moved last"""

    async def run(self) -> OSError | None:
        """Carry until both ends have said theirs; return what broke it."""
        error: OSError | None = None
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(self._near, self._far, back=False))
                both.create_task(self._carry(self._far, self._near, back=True))
        except* OSError as errors:
            error = next(each for each in errors.exceptions if isinstance(each, OSError))
        finally:
            for each in (self._near, self._far):
                each.close()
        return error

    async def _carry(self, giver: socket.socket, taker: socket.socket, back: bool) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(giver, PIECE_BYTES):
            await loop.sock_sendall(taker, data)
            self.moved_s = loop.time()
            if back:
                self.back_bytes += len(data)
            else:
                self.out_bytes += len(data)
            await asyncio.sleep(0)  # neither call above waits while bytes move: others get their turn here
        with contextlib.suppress(OSError):  # it may have closed altogether
            taker.shutdown(socket.SHUT_WR)
        end_on_close(taker)  # it was told everything: what the kernel still has for it is not thrown away
