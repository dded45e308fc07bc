"""Opening and closing the sockets of a relay."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat

from pagethrift.address import Address
from pagethrift.errors import LinkError


def listen(address: Address, backlog: int = 16) -> socket.socket:
    """Return a listening socket. Raises LinkError when the address cannot be used.

    A Unix socket left behind by a dead process is replaced; a live one is not.
    """
    try:
        if address.path:
            _remove_dead(address.path)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(address.path)
        else:
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address.host or "0.0.0.0", address.port))
        listener.listen(backlog)
    except OSError as error:
        reason = error.strerror or str(error)
        raise LinkError(f"cannot listen on {address}: {reason}; choose another address") from error
    return listener


def connect(address: Address, timeout_s: float = 10.0) -> socket.socket:
    """Return a connected socket, blocking. Raises LinkError."""
    try:
        if address.path:
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            link.settimeout(timeout_s)
            link.connect(address.path)
        else:
            link = socket.create_connection((address.host or "127.0.0.1", address.port), timeout_s)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise LinkError(f"cannot connect to {address}: {reason}; does the destination listen?") from error
    link.settimeout(None)
    return link


def close_both_ways(connection: socket.socket | None) -> None:
    """Shut down and close: close() alone does not end the connection while another thread receives."""
    if connection is None:
        return
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def _remove_dead(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    # A datagram socket finds out without connecting: a live listener has the wrong type (EPROTOTYPE).
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:
                raise
