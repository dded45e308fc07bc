"""Opening and closing the sockets of a relay."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat
import time
from collections.abc import Callable
from typing import Any

from pagethrift.address import Address
from pagethrift.errors import LinkError

STEP_S = 0.1
"""how often somebody who connects is asked whether to go on"""


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


def connect(
    address: Address, timeout_s: float = 10.0, given_up: Callable[[], bool] = lambda: False
) -> socket.socket:
    """Return a connected socket, blocking. Raises LinkError.

    ``given_up`` is asked about ten times a second; True ends the attempt.
    """
    try:
        if address.path:
            return _connected(socket.AF_UNIX, address.path, timeout_s, given_up)
        places = socket.getaddrinfo(address.host or "127.0.0.1", address.port, type=socket.SOCK_STREAM)
        for family, *_, where in places[:-1]:
            with contextlib.suppress(OSError):
                return _connected(family, where, timeout_s, given_up)
        return _connected(places[-1][0], places[-1][-1], timeout_s, given_up)
    except OSError as error:
        reason = error.strerror or str(error)
        raise LinkError(f"cannot connect to {address}: {reason}; is the destination listening?") from error


def _connected(family: int, where: Any, timeout_s: float, given_up: Callable[[], bool]) -> socket.socket:
    """Return a socket connected to one place, blocking. Raises OSError."""
    deadline_s = time.monotonic() + timeout_s
    link = socket.socket(family, socket.SOCK_STREAM)
    try:
        link.setblocking(False)
        poll = select.poll()
        poll.register(link, select.POLLOUT)
        while code := link.connect_ex(where):
            if given_up():
                raise OSError(errno.ECANCELED, "given up")
            if time.monotonic() > deadline_s:
                raise TimeoutError(errno.ETIMEDOUT, "timed out")
            if code == errno.EAGAIN:  # a Unix socket whose queue is full
                time.sleep(STEP_S)
            elif code in (errno.EINPROGRESS, errno.EALREADY):
                poll.poll(STEP_S * 1000)
            elif code == errno.EISCONN:
                break
            else:
                raise OSError(code, os.strerror(code))
        link.setblocking(True)
        if family != socket.AF_UNIX:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return link
    except BaseException:
        link.close()
        raise


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
