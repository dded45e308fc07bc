"""Opening and closing the sockets of a relay."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import select
import socket
import stat
import struct
import time
from collections.abc import Callable
from typing import Any

from pagethrift.address import Address
from pagethrift.errors import LinkError

STEP_S = 0.1
"""how often somebody who connects is asked whether to go on"""
SEGMENT_BYTES = 1448
"""TCP's largest segment, as on Ethernet: on the loopback device, where it would be 64 KiB, a sender's buffer
grows with it to megabytes"""
RECEIVE_BYTES = 32 << 10
"""what the kernel may take ahead of us from a sender of this host (it doubles the number)"""
_CREDENTIALS = struct.Struct("3i")
_BREAK, _END = struct.pack("2i", 1, 0), struct.pack("2i", 0, 0)
"""struct linger: a connection that is closed is reset at once; it is ended in order"""


class Listener(socket.socket):
    """A listening socket; of a Unix socket it knows the file, too."""

    _file: _SocketFile | None = None

    @classmethod
    def at(cls, path: str) -> Listener:
        """Return a Unix socket bound to ``path``; a dead process's is replaced. Raises OSError."""
        file = _SocketFile(path)
        listener = cls(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            file.remove_dead()
            listener.bind(file.name_for_bind())
            file.remember()
        except BaseException:
            listener.close()
            file.close()
            raise
        listener._file = file
        return listener

    def remove_file(self) -> None:
        """Remove the Unix socket's file, unless another has taken its place."""
        if self._file is not None:
            self._file.remove()
            self._file.close()
            self._file = None


class _SocketFile:
    """A Unix socket's file, reached by its folder's descriptor.

    Where root listens in a folder of another user, that user may at any time put a link in the place of the
    folder or of the file. The descriptor stays what it was, and links are never followed.
    """

    def __init__(self, path: str) -> None:
        folder, self._name = os.path.split(path)
        self._path = path
        self._folder = os.open(folder or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._is: tuple[int, int] | None = None

    def name_for_bind(self) -> str:
        """Return what bind() and connect() take: there is no bindat()."""
        return f"/proc/self/fd/{self._folder}/{self._name}" if os.geteuid() == 0 else self._path

    def remember(self) -> None:
        """Remember which file was made."""
        found = self._stat()
        self._is = (found.st_dev, found.st_ino)

    def remove(self) -> None:
        """Remove the file that is remembered; a failure is no harm."""
        with contextlib.suppress(OSError):
            found = self._stat()
            if (found.st_dev, found.st_ino) == self._is:
                os.unlink(self._name, dir_fd=self._folder)

    def remove_dead(self) -> None:
        """Remove a socket that nobody listens at; a living one is left alone. Raises OSError."""
        try:
            if not stat.S_ISSOCK(self._stat().st_mode):
                return
        except FileNotFoundError:
            return
        # A datagram socket asks without connecting: a living listener is of the wrong type (EPROTOTYPE).
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(self.name_for_bind())
            except ConnectionRefusedError:
                os.unlink(self._name, dir_fd=self._folder)
            except OSError as error:
                if error.errno != errno.EPROTOTYPE:
                    raise

    def close(self) -> None:
        """Close the folder's descriptor."""
        os.close(self._folder)

    def _stat(self) -> os.stat_result:
        return os.stat(self._name, dir_fd=self._folder, follow_symlinks=False)


def listen(address: Address, backlog: int = 16) -> Listener:
    """Return a listening socket. Raises LinkError when the address is busy or absent.

    A Unix socket left behind by a dead process is replaced; a live one is not.
    """
    try:
        if address.path:
            listener = Listener.at(address.path)
        else:
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            # bind() alone would drop the zone of an IPv6 address
            host = address.host or "0.0.0.0"
            *_, where = socket.getaddrinfo(host, address.port, family, socket.SOCK_STREAM)[0]
            listener = Listener(family, socket.SOCK_STREAM)
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
                listener.bind(where)
            except BaseException:
                listener.close()
                raise
        listener.listen(backlog)
    except OSError as error:
        reason = error.strerror or str(error)
        raise LinkError(f"cannot listen on {address}: {reason}; choose another address") from error
    return listener


def accepted(listener: socket.socket) -> socket.socket | OSError | None:
    """Accept one connection, which will block; None: nobody is left; an error concerns that one only.

    Between a sender of this host and us the kernel would hold 4 to 5 MB of TCP: more of a migration's stream
    than a relay may hold itself, and nobody could count it. It holds a quarter of that, as for a Unix socket.

    Closing the connection breaks it, until `end_on_close` was called.
    """
    try:
        connection, _ = listener.accept()
    except BlockingIOError:
        return None
    except OSError as error:
        # EINVAL: shut down; EBADF: closed
        return None if error.errno in (errno.EINVAL, errno.EBADF) else error
    connection.setblocking(True)
    break_on_close(connection)
    if _is_of_this_host(connection):
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    return connection


def break_on_close(connection: socket.socket) -> None:
    """Let the other end see an error, not an end, when the connection is closed or this process dies.

    A source whose relay was killed must know it at once, and an end does not always tell it: if its last word
    was that there is no room, a closed socket goes on saying so for a minute (tcp_fin_timeout), the source
    waits for room, and its migration counts as active. A Unix socket always tells.
    """
    _linger(connection, _BREAK)


def end_on_close(connection: socket.socket) -> None:
    """Let closing the connection be its orderly end: everything was said."""
    _linger(connection, _END)


def _linger(connection: socket.socket, how: bytes) -> None:
    if connection.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):  # it has gone
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, how)


def _is_of_this_host(connection: socket.socket) -> bool:
    """Say whether both ends of a TCP connection are here; one that a nat rule took here has two addresses."""
    if connection.family == socket.AF_UNIX:
        return False
    try:
        here, there = _ip(connection.getsockname()[0]), _ip(connection.getpeername()[0])
    except (OSError, ValueError):  # it has gone
        return False
    return here == there or here.is_loopback or there.is_loopback


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address without its zone; an IPv4 one behind IPv6 as it is. Raises ValueError."""
    found = ipaddress.ip_address(host.partition("%")[0])
    return (isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped) or found


def host_of(connection: socket.socket) -> str:
    """Return what all connections of one host share: its address; of an IPv6 host, its network of 64 bits.

    Behind a Unix socket the user id.
    """
    try:
        if connection.family == socket.AF_UNIX:
            found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            return f"user {_CREDENTIALS.unpack(found)[1]}"
        address = _ip(connection.getpeername()[0])
    except (OSError, ValueError):  # it has gone
        return "?"
    if isinstance(address, ipaddress.IPv6Address) and address.is_global:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def remove_dead_socket(path: str) -> bool:
    """Remove a Unix socket's file that nobody listens at; return whether it is gone. A failure is no harm."""
    with contextlib.suppress(OSError):
        file = _SocketFile(path)
        try:
            file.remove_dead()
        finally:
            file.close()
    return not os.path.lexists(path)


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
