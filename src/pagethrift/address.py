"""Addresses as operators write them: ``unix:PATH`` or ``HOST:PORT`` (``[v6]:PORT``), and QMP sockets."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass

from pagethrift.errors import UsageError

PATH_BYTES_MAX = 107
"""of a Unix socket: sun_path of Linux without the NUL at its end"""
HOST_NAME_MAX = 253
"""characters of a host name in the DNS"""
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_ZONE = re.compile(r"[A-Za-z0-9._-]{1,15}")
"""a network interface's name or number"""
_PORT = re.compile(r"[0-9]{1,5}")
_NO_UNIX_SOCKET = re.compile(
    r"(tcp|telnet|tn3270|websocket|udp|vsock|fd|pty):.*|pty|stdio|[^/]*:[0-9]+(,.*)?"
)
"""what QEMU's -qmp takes beside a Unix socket, and HOST:PORT"""

_OTHER_INCOMING = ("exec:", "fd:", "file:", "rdma:", "vsock:")


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a stream socket."""

    path: str = ""
    """Unix socket path; empty for TCP"""
    host: str = ""
    """empty: to listen on every address of this machine"""
    port: int = 0
    """0: to listen on any port that is free"""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def qemu_uri(self) -> str:
        """Return the address as QEMU's ``migrate`` and ``migrate-incoming`` take it."""
        return str(self) if self.path else f"tcp:{self}"


def parse_address(text: str, listening: bool = False) -> Address:
    """Read an address; a leading ``tcp:`` is allowed. Raises UsageError.

    ``listening`` True: the host may be empty (every address) and the port 0 (any that is free).
    """
    if text.startswith("unix:"):
        return Address(path=_socket_path(text, text.removeprefix("unix:")))
    host, colon, port = text.removeprefix("tcp:").rpartition(":")
    if not colon or not _PORT.fullmatch(port):
        raise UsageError(f"{text!r} is not an address; write unix:PATH or HOST:PORT")
    if not (0 if listening else 1) <= int(port) <= 65535:
        raise UsageError(f"{text!r}: a port is a number from 1 to 65535")
    if host.startswith("[") and host.endswith("]"):
        return Address(host=_v6(text, host[1:-1]), port=int(port))
    if not listening or host not in ("", "0"):
        host = _host_name(text, host)
    return Address(host=host, port=int(port))


def parse_qmp_path(text: str, option: str) -> str:
    """Return the path of a QMP Unix socket; a leading ``unix:`` is allowed. Raises UsageError.

    ``option`` opens the error line.
    """
    if _NO_UNIX_SOCKET.fullmatch(text) and not os.path.exists(text):
        raise UsageError(
            f"{option} {text!r}: a Unix socket is needed; give QEMU one (-qmp unix:PATH,server=on,wait=off)"
            " and, if it runs on another host, forward it: ssh -L /run/vm.qmp:/run/vm.qmp HOST"
        )
    path = text.removeprefix("unix:")
    if ",server" in path:
        raise UsageError(f"{option} {text!r}: give the socket's path alone: {path.partition(',')[0]}")
    return _socket_path(f"{option} {text}", path)


def check_incoming_uri(text: str) -> None:
    """Raise UsageError for no address to listen at; QEMU's other kinds of addresses are its own matter."""
    if not text.startswith(_OTHER_INCOMING):
        parse_address(text.partition(",")[0] if text.startswith("tcp:") else text, listening=True)


def _socket_path(text: str, path: str) -> str:
    try:
        encoded = os.fsencode(path)
    except UnicodeError:
        raise UsageError(f"{text!r}: this path cannot be encoded as a file name") from None
    if not 1 <= len(encoded) <= PATH_BYTES_MAX:
        raise UsageError(f"{text!r}: a Unix socket path has 1 to {PATH_BYTES_MAX} bytes")
    if 0 in encoded:
        raise UsageError(f"{text!r}: a Unix socket path has no NUL byte")
    return path


def _v6(text: str, host: str) -> str:
    address, percent, zone = host.partition("%")
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        raise UsageError(f"{text!r}: {address!r} is not an IPv6 address; write [ADDRESS]:PORT") from None
    if percent and not _ZONE.fullmatch(zone):
        raise UsageError(f"{text!r}: {zone!r} is not a zone; write an interface, as in [fe80::1%eth0]:PORT")
    return host


def _host_name(text: str, host: str) -> str:
    """Return a name that a resolver can be asked for (QEMU's knows ASCII only), or an IPv4 address."""
    if ":" in host or "[" in host or "]" in host:
        raise UsageError(
            f"{text!r} is not an address; write unix:PATH or HOST:PORT, an IPv6 address in brackets:"
            " [::1]:PORT"
        )
    try:
        name = host.encode("idna").decode("ascii")
    except UnicodeError:
        raise UsageError(f"{text!r}: {host!r} is not a host name") from None
    labels = name.removesuffix(".").split(".")
    if len(name) > HOST_NAME_MAX or not all(map(_LABEL.fullmatch, labels)):
        raise UsageError(f"{text!r}: {host!r} is not a host name; write unix:PATH or HOST:PORT")
    if labels[-1].isdigit():
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise UsageError(f"{text!r}: {host!r} is not an IPv4 address") from None
    return name
