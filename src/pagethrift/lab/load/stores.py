"""The key-value stores of a load behind one interface: memcached by pymemcache, Redis by redis-py."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol as Face

import redis
from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheError
from redis.backoff import NoBackoff
from redis.retry import Retry

from pagethrift.lab.load.spec import LoadSpec, Protocol

STORE_ERRORS = (MemcacheError, redis.RedisError, OSError)
"""what a call may raise; after that its answer is unknown, and the next call reconnects"""

CONNECT_TIMEOUT_S = 10

Address = tuple[str, int] | str
"""host and port, or the path of a unix socket"""


@dataclass(frozen=True, slots=True)
class Held:
    """The server's own count of its contents."""

    items: int
    evictions: int
    item_bytes: int


class Store(Face):
    """One connection. Every call may raise STORE_ERRORS."""

    counter_start: bytes
    """a counter at 0, in a form that this server increments in place"""

    def fill(self, values: Mapping[bytes, bytes]) -> None:
        """Store values; a refusal may go unnoticed."""

    def set_many(self, values: Mapping[bytes, bytes]) -> set[bytes]:
        """Store values; return the keys that were refused."""

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the values of the keys that exist."""

    def increment_many(self, keys: Sequence[bytes]) -> list[int | None]:
        """Add 1 to each counter in turn (keys may repeat); return the new values, None for a missing key."""

    def held(self) -> Held:
        """Ask for the server's own count."""

    def abort(self) -> None:
        """Break the connection from another thread; a call that waits for an answer fails."""

    def close(self) -> None:
        """Close the connection."""


def connect(spec: LoadSpec, server: Address) -> Store:
    """Return a connection that connects at its first call."""
    return _Redis(spec, server) if spec.protocol is Protocol.REDIS else _Memcached(spec, server)


class _PipeliningClient(Client):  # type: ignore[misc]
    def increment_many(self, keys: Sequence[bytes]) -> list[bytes]:
        # What pymemcache's own incr does, for many at once. Not raw_command: in 4.0 it keeps only the end
        # of an answer that comes in pieces.
        lines: list[bytes] = self._misc_cmd([b"incr %s 1\r\n" % key for key in keys], b"incr", False)
        return lines


class _Memcached:
    # memcached counts in place only while the digits fit; it fills with spaces itself.
    counter_start = b"0".ljust(20)

    def __init__(self, spec: LoadSpec, server: Address) -> None:
        self._client = _PipeliningClient(
            server, connect_timeout=CONNECT_TIMEOUT_S, timeout=spec.timeout_s, no_delay=True
        )

    def fill(self, values: Mapping[bytes, bytes]) -> None:
        self._client.set_many(values, noreply=True)

    def set_many(self, values: Mapping[bytes, bytes]) -> set[bytes]:
        return set(self._client.set_many(values, noreply=False))

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = self._client.get_many(keys)
        return found

    def increment_many(self, keys: Sequence[bytes]) -> list[int | None]:
        lines = self._client.increment_many(keys)
        return [int(line) if line.isdigit() else None for line in lines]

    def held(self) -> Held:
        stats = {key.decode(): value for key, value in self._client.stats().items()}
        return Held(int(stats["curr_items"]), int(stats["evictions"]), int(stats["bytes"]))

    def abort(self) -> None:
        _break(self._client.sock)

    def close(self) -> None:
        self._client.close()


class _Redis:
    counter_start = b"0"

    def __init__(self, spec: LoadSpec, server: Address) -> None:
        where = (
            {"unix_socket_path": server}
            if isinstance(server, str)
            else {"host": server[0], "port": server[1]}
        )
        # No retries of its own: an operation whose answer is lost must show as lost.
        self._client = redis.Redis(
            **where,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=spec.timeout_s,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
        )

    def fill(self, values: Mapping[bytes, bytes]) -> None:
        self.set_many(values)

    def set_many(self, values: Mapping[bytes, bytes]) -> set[bytes]:
        pipeline = self._client.pipeline(transaction=False)
        for key, value in values.items():
            pipeline.set(key, value)
        answers = pipeline.execute(raise_on_error=False)
        return {key for key, answer in zip(values, answers, strict=True) if answer is not True}

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        values = self._client.mget(keys)
        return {key: value for key, value in zip(keys, values, strict=True) if isinstance(value, bytes)}

    def increment_many(self, keys: Sequence[bytes]) -> list[int | None]:
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.incr(key)
        return [n if isinstance(n, int) else None for n in pipeline.execute(raise_on_error=False)]

    def held(self) -> Held:
        facts = self._client.info()
        return Held(int(self._client.dbsize()), int(facts["evicted_keys"]), int(facts["used_memory"]))

    def abort(self) -> None:
        # redis-py's own disconnect closes the socket under the reader, which fails with a ValueError.
        pool = self._client.connection_pool
        for connection in (*pool._available_connections, *pool._in_use_connections):
            _break(connection._sock)

    def close(self) -> None:
        self._client.close()


def _break(sock: socket.socket | None) -> None:
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
