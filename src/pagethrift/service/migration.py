"""One migration of a service: the process of its relay, and the connections that this process gets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Sequence

from pagethrift.address import Address
from pagethrift.errors import PagethriftError
from pagethrift.live.relay_process import RelayProcess
from pagethrift.model.relay_protocol import Handing, RelayStatus

QUEUE_BYTES = 1 << 20
"""room for the connections that a relay has not taken yet: the kernel counts about 800 bytes for each"""
END_S = 3600.0
"""how long to wait at once; the relay itself sees to it that a migration ends"""


class Migration:
    """A relay's process from its start to its end. A fault in it is reported, and concerns nobody else.

    ``on_ask`` is called when the relay asks for whoever has connected so far: hand them over before it
    returns.
    """

    def __init__(
        self, name: str, destination: Address, host: str, on_ask: Callable[[Migration], None]
    ) -> None:
        self.name = name
        self.destination = destination
        self.host = host
        """where its source connects from"""
        self.taking = False
        """whether the relay takes more connections"""
        self.began_s = time.monotonic()
        self._on_ask = on_ask
        self._relay: RelayProcess | None = None
        self._door: socket.socket | None = None

    @property
    def status(self) -> RelayStatus:
        """How far it is, as the relay said last."""
        return self._relay.status if self._relay else RelayStatus()

    @property
    def pid(self) -> int:
        """The process; 0: there is none yet."""
        return self._relay.pid if self._relay else 0

    async def begin(self, argv: Sequence[str], connected: socket.socket | None) -> None:
        """Start the relay; ``connected``: its connection to the destination, made already.

        Raises the error that the relay ended with, or LinkError.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._door = ours
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, QUEUE_BYTES)
        passed = [theirs.fileno()]
        argv = [*argv, "--handed-over", str(theirs.fileno())]
        if connected is not None:
            passed.append(connected.fileno())
            argv += ["--connected", str(connected.fileno())]
        with theirs:
            self._relay = await RelayProcess.start(argv, lambda _: None, pass_fds=passed)
        asyncio.get_running_loop().add_reader(ours, self._hear)
        self.taking = True

    def hand(self, connection: socket.socket) -> bool:
        """Hand a connection over and close it here; False: the relay takes nobody any more."""
        if not self.taking or self._door is None:
            return False
        try:
            socket.send_fds(self._door, [Handing.CONNECTION], [connection.fileno()])
        except OSError:
            return False
        connection.close()
        return True

    async def ended(self) -> PagethriftError | None:
        """Wait for the relay's end; return what it failed with."""
        assert self._relay is not None
        while not await self._relay.wait_last_word(END_S):
            pass
        return None if await self._relay.wait_done() else await self._relay.failure()

    async def close(self) -> None:
        """End the relay if it still runs: its source's guest runs on."""
        self._shut()
        if self._relay is not None:
            await self._relay.close()
        if self._door is not None:
            self._door.close()
            self._door = None

    def _hear(self) -> None:
        assert self._door is not None
        try:
            word = self._door.recv(1)
        except BlockingIOError:
            return
        except OSError:
            word = b""
        if word != Handing.WHO_ELSE:
            return self._shut()
        self._on_ask(self)
        with contextlib.suppress(OSError):
            self._door.send(Handing.NOBODY_ELSE)

    def _shut(self) -> None:
        self.taking = False
        if self._door is not None:
            asyncio.get_running_loop().remove_reader(self._door)
