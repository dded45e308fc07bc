"""The service: accepts connections, sorts them out, and gives each migration a relay's process of its own.

One thread and one loop; nothing here waits for a client, a destination, a relay or a reader of messages.
A client's first bytes are looked at and left where they are (hearing.py), so whoever gets the connection
gets all of it: a relay's process (migration.py) or a pipe (piping.py). All connections of one migration go
from one host to one destination, and QEMU's destination takes one migration: so a relay gets whatever
comes with its main connection's host and destination until it has chosen the source's channels.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from pagethrift.address import Address
from pagethrift.errors import LinkError, PagethriftError
from pagethrift.model.error_data import to_data, unexpected
from pagethrift.service.clients import Client, Clients, Key, Stage
from pagethrift.service.connector import Connector
from pagethrift.service.entrance import Entrance
from pagethrift.service.hearing import Word, deaf, first_word, hung_up
from pagethrift.service.limits import Limits
from pagethrift.service.migration import Migration
from pagethrift.service.piping import Pipe
from pagethrift.service.telling import Teller
from pagethrift.service.ways import Way
from pagethrift.sockets import close_both_ways, host_of
from pagethrift.units import format_bytes, format_seconds

TURN_S = 0.1
TICK_S = 0.5
CHANNEL_S = 300.0
"""how long a channel may wait for its migration's main connection"""
SILENT_S = 30.0
"""how long a silent client is kept where it is not to be piped yet: its migration's channels have come, or
--silence is 0"""
END_S = 10.0
"""for relays that are told to end; it takes them a second or two"""
MOVING_S = 2.0
"""a pipe in which something moved so lately is waited for at the end"""


class Service:
    """Many migrations, from ``run`` to ``stop``; a second ``stop`` does not wait for them.

    ``relay_argv`` returns the command line of a relay to a destination. ``on_ready`` is called when the
    service listens, ``on_end`` when it begins to end.
    """

    def __init__(
        self,
        ways: Sequence[Way],
        relay_argv: Callable[[Address], list[str]],
        teller: Teller,
        limits: Limits,
        on_ready: Callable[[], None] = lambda: None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._relay_argv, self._tell, self._limits = relay_argv, teller, limits
        self._entrance = Entrance(ways, self._take_in)
        self._on_ready, self._on_end = on_ready, on_end
        self._clients = Clients(limits.connections, limits.per_host)
        self._running: list[Migration] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._connector = Connector(self._clients)
        self._token, self._numbers = secrets.token_hex(2), itertools.count(1)
        self._draining, self._at_once = asyncio.Event(), asyncio.Event()
        self._over = False
        """whatever still runs is being ended"""

    def stop(self) -> None:
        """Accept nobody any more, and end when the running migrations have; called again, end at once."""
        (self._at_once if self._draining.is_set() else self._draining).set()

    async def run(self) -> None:
        """Serve until told to stop. Raises LinkError when an address cannot be had."""
        try:
            names = self._entrance.open()
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            self._tell.tell("listening", f"listening on {shown}", addresses=names)
            self._on_ready()
            while not self._draining.is_set():
                self._expire()
                await _set(self._draining, TICK_S)
            self._on_end()
            await self._drain()
        finally:
            await self._end()

    # who comes in

    def _take_in(self, connection: socket.socket, way: Way) -> None:
        """Keep a connection that came in and sort it out, or close it."""
        host = host_of(connection)
        try:
            client = self._admitted(connection, host, way)
        except LinkError as error:
            self._tell.refused(host, str(error))
            connection.close()
            return
        self._clients.add(client)
        client.task = self._start(self._sort(client))

    def _admitted(self, connection: socket.socket, host: str, way: Way) -> Client:
        """Return a connection as a client, if there is room and it leads somewhere. Raises LinkError."""
        now_s = asyncio.get_running_loop().time()
        connection.setblocking(False)
        destination = way.destination(connection)
        if self._entrance.is_own(destination):
            raise LinkError(f"it was going to {destination}, which is this service itself")
        if self._draining.is_set() and not self._expected((destination, host)):
            raise LinkError("the service is about to end")
        room = self._clients.room_for(host, now_s)
        if isinstance(room, Client):
            self._tell.refused(room.host, "it was idle, and there is no room for another")
            self._drop(room)
        elif not room:
            raise LinkError("there are too many connections; see --connections and --per-host")
        return Client(connection, host, destination, now_s)

    async def _sort(self, client: Client) -> None:
        """Find out what a client is and give it to whom it belongs."""
        try:
            match await self._word(client):
                case Word.MAIN:
                    await self._turn(client)
                    self._migrate(client)
                case Word.CHANNEL:
                    self._join(client)
                case Word.END if client.server is None:  # a look whether the port is open
                    self._drop(client)
                case word:
                    await self._pipe(client, word)
        except PagethriftError as error:
            self._tell.refused(client.host, str(error), str(client.destination))
            self._drop(client)
        except Exception:
            self._drop(client)
            raise

    async def _word(self, client: Client) -> Word:
        """Return a client's first word; of one that is silent too long, once its destination is connected.

        To QEMU's destination that connection is its one migration: it stays the client's, or becomes main's.
        """
        silence_s = self._limits.silence_s
        word = await first_word(client.connection, silence_s or SILENT_S)
        if word is Word.NOTHING and not silence_s:
            raise LinkError(f"it said nothing for {SILENT_S:.0f} s")
        if word is Word.NOTHING and self._clients.of(Stage.CHANNEL, key=client.key):
            word = await first_word(client.connection, SILENT_S)
        if word is Word.NOTHING:
            await self._connector.connect_in_order(client)
            word = await first_word(client.connection, None, client.server)
        return word

    # what is no migration

    async def _pipe(self, client: Client, word: Word) -> None:
        """Carry a connection through untouched."""
        server = await self._connector.connect(client)
        client.stage, client.server, client.pipe = Stage.PIPED, None, Pipe(client.connection, server)
        try:
            error = await client.pipe.run()
        finally:
            self._clients.remove(client)
        self._tell.tell(
            "pipe", "", peer=client.host, destination=str(client.destination), tls=word is Word.TLS,
            out_bytes=client.pipe.out_bytes, back_bytes=client.pipe.back_bytes,
            seconds=round(asyncio.get_running_loop().time() - client.since_s, 3),
            error=error and (error.strerror or str(error)),
        )  # fmt: skip

    # migrations

    async def _turn(self, client: Client) -> None:
        """Wait until a migration may begin. Raises LinkError when its source has gone."""
        client.stage = Stage.WAITING
        told = False
        while not self._may_begin(client):
            if not told:
                why = f"{len(self._running)} run, of at most {self._limits.most}"
                if self._busy(client.destination):
                    why = (
                        f"one to {client.destination} runs already; if this is the service's own connection,"
                        " the nat rule must leave out the service's group"
                    )
                self._tell.tell(
                    "waiting", f"a migration from {client.host} to {client.destination} waits: {why}",
                    peer=client.host, destination=str(client.destination), reason=why,
                )  # fmt: skip
                told = True
            await asyncio.sleep(TURN_S)
            if hung_up(client.connection):
                raise LinkError("its migration waited for its turn, and the source has gone")
        if self._draining.is_set():
            raise LinkError("the service is about to end")

    def _may_begin(self, client: Client) -> bool:
        if len(self._running) >= self._limits.most:
            return False
        waiting = (each for each in self._clients.of(Stage.WAITING) if not self._busy(each.destination))
        return next(waiting, None) is client

    def _busy(self, destination: Address) -> bool:
        return any(migration.destination == destination for migration in self._running)

    def _taking(self, key: Key) -> Migration | None:
        """Return the relay that still takes connections of a migration."""
        found = (each for each in self._running if each.taking and (each.destination, each.host) == key)
        return next(found, None)

    def _expected(self, key: Key) -> bool:
        """Say whether connections of a migration are still to come."""
        return self._taking(key) is not None or bool(self._clients.of(Stage.STARTING, key=key))

    def _join(self, client: Client) -> None:
        """Give a channel to its relay, or let it wait for one."""
        client.stage = Stage.CHANNEL
        if migration := self._taking(client.key):
            self._hand(client, migration)

    def _migrate(self, client: Client) -> None:
        client.stage = Stage.STARTING
        name = f"{self._token}-{next(self._numbers)}"
        migration = Migration(name, client.destination, client.host, self._hand_who_came)
        self._running.append(migration)
        self._start(self._see_through(migration, client))

    async def _see_through(self, migration: Migration, client: Client) -> None:
        """Start a relay for a main connection and wait for its end."""
        about = {"id": migration.name, "peer": client.host, "destination": str(client.destination)}
        self._tell.tell(
            "begin", f"{migration.name}: begins, from {client.host} to {client.destination}", **about
        )
        error: PagethriftError | None = None
        try:
            connected = self._connection_for(client)
            try:
                await migration.begin(self._relay_argv(client.destination), connected)
            finally:
                if connected is not None:
                    connected.close()
            self._tell.tell("relay", "", id=migration.name, pid=migration.pid)
            if not self._hand(client, migration):
                raise LinkError("the relay does not take its main connection")
            for channel in self._clients.of(Stage.CHANNEL, key=client.key):
                self._hand(channel, migration)
            error = await migration.ended()
            if error and self._over:
                error = LinkError("the service ended before it; the source's guest runs on")
        except Exception as failure:
            error = unexpected(failure)
            for each in (client, *self._clients.of(Stage.CHANNEL, key=client.key)):
                self._drop(each)
        finally:
            await migration.close()
            self._running.remove(migration)
        status, took_s = migration.status, time.monotonic() - migration.began_s
        told = f"in {format_bytes(status.in_bytes)}, out {format_bytes(status.out_bytes)}"
        how = f"failed: {error}" if error else "done"
        warned = f" ({status.warning})" if status.warning else ""
        kind = to_data(error) if error else None
        self._tell.tell(
            "end", f"{migration.name}: {how}; {told}, {format_seconds(took_s)}{warned}", **about,
            in_bytes=status.in_bytes, out_bytes=status.out_bytes, seconds=round(took_s, 3),
            peak_rss_bytes=status.peak_rss_bytes, warning=status.warning, refused=status.refused,
            error=kind and {"kind": kind.kind, "message": kind.message},
        )  # fmt: skip

    def _connection_for(self, main: Client) -> socket.socket | None:
        """Return the destination's connection that was opened first for this migration, if any was.

        The destination takes it for main's, whoever of the source's connections it was opened for.
        """
        opened = [each for each in self._clients.of(key=main.key) if each.server]
        opened.sort(key=lambda each: each.server_s)
        servers = [each.server for each in opened]
        for each in opened:
            deaf(each.server)
            each.server = None
            if each is not main:
                if each.task is not None:
                    each.task.cancel()  # it listens to what is given away or closed now
                deaf(each.connection)
                each.stage = Stage.CHANNEL
        for server in servers[1:]:
            close_both_ways(server)
        return servers[0] if servers else None

    def _hand(self, client: Client, migration: Migration) -> bool:
        """Hand a connection to a relay; it is closed, and False returned, if the relay takes nobody more."""
        deaf(client.connection)
        if taken := migration.hand(client.connection):
            self._clients.remove(client)
        self._drop(client)
        return taken

    def _hand_who_came(self, migration: Migration) -> None:
        """Hand over who has connected so far and may belong to a migration."""
        self._entrance.accept_all()
        key = migration.destination, migration.host
        for client in self._clients.of(Stage.UNDECIDED, Stage.CHANNEL, key=key):
            self._hand(client, migration)

    # the end

    def _expire(self) -> None:
        """Close channels that wait in vain, and hand over those whose relay has begun."""
        now_s = asyncio.get_running_loop().time()
        for client in self._clients.of(Stage.CHANNEL):
            if migration := self._taking(client.key):
                self._hand(client, migration)
            elif hung_up(client.connection):
                self._drop(client)
            elif now_s - client.since_s > CHANNEL_S and not self._clients.of(
                Stage.WAITING, Stage.STARTING, key=client.key
            ):
                self._tell.refused(client.host, "a migration's channel without its main connection")
                self._drop(client)

    def _drop(self, client: Client) -> None:
        """Close what the service still has of a client, and forget it."""
        kept = self._clients.remove(client)
        deaf(client.server)
        close_both_ways(client.server)
        client.server = None
        if client.task is not None and client.task is not asyncio.current_task():
            client.task.cancel()
        if kept and client.pipe is None:  # a pipe closes what is its own
            deaf(client.connection)
            client.connection.close()

    async def _drain(self) -> None:
        """Let running migrations end; nobody who is not of one of them is kept."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._limits.drain_s
        count = len(self._running)
        waits = f": {count} migrations may take {format_seconds(self._limits.drain_s)}" if count else ""
        self._tell.tell("draining", f"about to end{waits}", migrations=count)
        while not self._at_once.is_set() and loop.time() < until_s:
            for client in self._clients.of(Stage.UNDECIDED, Stage.CHANNEL, Stage.WAITING):
                if not self._expected(client.key):
                    self._tell.refused(client.host, "the service is about to end", str(client.destination))
                    self._drop(client)
            self._expire()
            moving = [p for c in self._clients.of() if (p := c.pipe) and loop.time() - p.moved_s < MOVING_S]
            if not self._running and not moving:
                return
            if not any(each.taking or each.status.in_bytes == 0 for each in self._running):
                self._entrance.close()
            await _set(self._at_once, TURN_S)

    async def _end(self) -> None:
        """End whatever still runs."""
        self._over = True
        self._entrance.close()
        for client in self._clients.of():
            self._drop(client)
        await asyncio.gather(*(migration.close() for migration in self._running), return_exceptions=True)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=END_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._connector.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._tell.tell("fault", f"{unexpected(error)}", error=str(error))


async def _set(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for an event, for a while."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
