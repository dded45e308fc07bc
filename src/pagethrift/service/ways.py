"""Ways into the service: where it listens, and where a connection that came in there is meant to go."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import struct
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from pagethrift.address import Address, parse_address
from pagethrift.errors import LinkError, UsageError
from pagethrift.sockets import Listener, listen

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

BACKLOG = 512
"""QEMU connects up to 255 channels and main before anybody accepts"""
PORTS_MAX = 1024
"""of one map: each is a socket that listens"""
_SO_ORIGINAL_DST = 80
"""linux/netfilter_ipv4.h; IP6T_SO_ORIGINAL_DST is the same number"""
_SOCKADDR_IN, _SOCKADDR_IN6 = struct.Struct("!2xH4s8x"), struct.Struct("!2xH4x16s4x")
_MAP = re.compile(
    r"(?:\[(?P<six>[^]]+)\]|(?P<four>[^]:=[]+)):(?P<ports>[0-9]{1,5}(?:-[0-9]{1,5})?)=(?P<real>[^=]+)"
)


class Way(Protocol):
    """One way in."""

    def listen(self) -> list[Listener]:
        """Return the listening sockets of this way. Raises LinkError."""

    def destination(self, connection: socket.socket) -> Address:
        """Return where a connection that came in this way is meant to go. Raises LinkError."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Whoever connects to one address goes to another one."""

    near: Address
    far: Address

    def listen(self) -> list[Listener]:
        """Listen at the one address."""
        return [listen(self.near, BACKLOG)]

    def destination(self, connection: socket.socket) -> Address:
        """Return the other address."""
        return self.far


@dataclass(frozen=True, slots=True)
class Map:
    """Whoever connects to an address of a network of this machine goes to the same host of a real network.

    The port stays the same. 127.0.0.0/8 needs no set-up; for another network: ip route add local NET dev lo.
    """

    network: Network
    ports: range
    real: Network

    def listen(self) -> list[Listener]:
        """Listen at each port: at the network's one address or, a network cannot be listened at, at all."""
        single = self.network.num_addresses == 1
        host = str(self.network.network_address) if single else "::" if self.network.version == 6 else ""
        found: list[Listener] = []
        try:
            for port in self.ports:
                found.append(listen(Address(host=host, port=port), BACKLOG))
                if self.network.is_loopback and not single:
                    with contextlib.suppress(OSError):  # an old kernel lets nobody but root
                        found[-1].setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        except BaseException:
            close(found)
            raise
        return found

    def destination(self, connection: socket.socket) -> Address:
        """Return the real host, by the address that was connected to."""
        local, port = _name(connection)
        if local not in self.network:
            raise LinkError(f"somebody connected to {local}, which is not of {self.network}")
        number = int(local) - int(self.network.network_address)
        return Address(host=str(self.real.network_address + number), port=port)


@dataclass(frozen=True, slots=True)
class Redirect:
    """Whoever was redirected to one address goes where it was going to before a nat rule took it here."""

    near: Address

    def listen(self) -> list[Listener]:
        """Listen at the one address."""
        return [listen(self.near, BACKLOG)]

    def destination(self, connection: socket.socket) -> Address:
        """Ask the kernel where the connection was going to."""
        six = connection.family == socket.AF_INET6 and _name(connection)[0].version == 6
        level, layout = (socket.IPPROTO_IPV6, _SOCKADDR_IN6) if six else (socket.IPPROTO_IP, _SOCKADDR_IN)
        try:
            data = connection.getsockopt(level, _SO_ORIGINAL_DST, layout.size)
            port, packed = layout.unpack(data)
        except (OSError, struct.error) as error:
            raise LinkError("somebody connected who was not redirected; see SO_ORIGINAL_DST") from error
        return Address(host=str(ipaddress.ip_address(packed)), port=port)


def parse_pair(text: str) -> Pair:
    """Read LISTEN=CONNECT. Raises UsageError."""
    near, equals, far = text.partition("=")
    if not equals:
        raise UsageError(f"--pair {text}: write LISTEN=CONNECT, such as 127.0.0.1:4444=host2:4444")
    pair = Pair(parse_address(near, listening=True), parse_address(far))
    if pair.near == pair.far:
        raise UsageError(f"--pair {text}: it leads back to itself")
    return pair


def parse_map(text: str) -> Map:
    """Read NETWORK:PORTS=NETWORK. Raises UsageError."""
    parts = _MAP.fullmatch(text)
    if parts is None:
        raise UsageError(
            f"--map {text}: write NETWORK:PORTS=NETWORK, such as 127.77.0.0/16:49152-49215=10.0.0.0/16"
        )
    first, _, last = parts["ports"].partition("-")
    ports = range(int(first), int(last or first) + 1)
    near, real = (_network(text, each) for each in (parts["six"] or parts["four"], parts["real"].strip("[]")))
    if not ports or not 1 <= ports[0] <= ports[-1] <= 65535 or len(ports) > PORTS_MAX:
        raise UsageError(f"--map {text}: ports are FIRST-LAST, from 1 to 65535, at most {PORTS_MAX} of them")
    if near.version != real.version or near.prefixlen != real.prefixlen:
        raise UsageError(f"--map {text}: both networks need the same length; {near} and {real} differ")
    if near.overlaps(real):
        raise UsageError(f"--map {text}: it leads back to itself")
    return Map(near, ports, real)


def parse_redirect(text: str) -> Redirect:
    """Read the address that a nat rule redirects to. Raises UsageError."""
    near = parse_address(text, listening=True)
    if near.path:
        raise UsageError(f"--redirect {text}: a nat rule redirects to a TCP port; write HOST:PORT")
    return Redirect(near)


def leads_back(destination: Address, listeners: list[Listener]) -> bool:
    """Say whether a destination is one of the service's own listening sockets."""
    try:
        host = ipaddress.ip_address(destination.host.partition("%")[0])
    except ValueError:  # a name, or a Unix socket
        return False
    for listener in listeners:
        if listener.family != socket.AF_UNIX:
            name, port = _name(listener)
            if port == destination.port and (name == host or (name.is_unspecified and _is_local(host))):
                return True
    return False


def close(listeners: list[Listener]) -> None:
    """Close listening sockets, and remove the files of Unix sockets."""
    for listener in listeners:
        listener.remove_file()
        listener.close()


def _name(connection: socket.socket) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]:
    """Return the local address and port. Raises LinkError."""
    try:
        host, port, *_ = connection.getsockname()
    except OSError as error:
        raise LinkError(f"a connection went away: {error.strerror}") from error
    address = ipaddress.ip_address(host.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address, int(port)


def _is_local(host: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    family = socket.AF_INET if host.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(host), 0))
        except OSError:
            return False
    return True


def _network(text: str, part: str) -> Network:
    try:
        return ipaddress.ip_network(part)
    except ValueError as error:
        raise UsageError(f"--map {text}: {error}") from error
