"""The route of the migration stream from host A to host B: direct, delayed, or through a tunnel.

    source or relay -> [tunnel's near end] -> [delay] == link == -> [tunnel's far end] -> destination

The tunnel's ends listen on loopback towards QEMU; only what they exchange crosses the link.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pagethrift.errors import LabError
from pagethrift.lab.hosts.network import TwoHosts
from pagethrift.lab.hosts.processes import Process, ProcessGroup
from pagethrift.lab.link.delay import window_bytes
from pagethrift.lab.link.spec import LinkSpec, Security
from pagethrift.lab.link.tunnels import Tunnel, ssh_tunnel, tls_tunnel
from pagethrift.model.run_result import LinkRecord

MIGRATION_PORT = 4444
_TUNNEL_PORT = 4445
_NEAR_PORT = 4446
_DELAY_PORT = 4447
_LOOPBACK = "127.0.0.1"
_LISTENING = "0A"


@dataclass(frozen=True, slots=True)
class Route:
    """The addresses of the migration, and the processes that carry it."""

    to: str
    """the address that the source or its relay connects to"""
    incoming: str
    """the address that the destination listens on, as QEMU's URI"""
    delay_by: str = ""
    """netem, forwarder, or empty without a delay"""
    tunnel: tuple[Process, ...] = ()
    """both ends of the tunnel"""
    forwarder: tuple[Process, ...] = ()
    protection: str = ""
    """program and version of the tunnel, empty without one"""


def open_route(link: LinkSpec, hosts: TwoHosts, group: ProcessGroup, folder: Path) -> Route:
    """Start the processes that the link needs, and return once all of them listen.

    Keys, certificates and settings go into ``folder``. Raises LabError.
    """
    tunnel = _tunnel(link.security, folder)
    far_host = hosts.b.link_address
    inside = _LOOPBACK if tunnel else far_host
    hop = (far_host, _TUNNEL_PORT if tunnel else MIGRATION_PORT)
    ends, forwarder, delay_by = [], [], ""
    if tunnel:
        command = tunnel.far_end(hop, (inside, MIGRATION_PORT))
        ends.append(_listening(group, command, "tunnel-far", hosts.b.namespace, hop[1]))
    if link.delay_s:
        delay_by = "netem" if hosts.add_delay(link.delay_s, link.fastest_bps) else "forwarder"
    if delay_by == "forwarder":
        window = window_bytes(link.fastest_bps, link.delay_s)
        command = [
            sys.executable, "-m", "pagethrift.lab.link.delay", "--listen", f"{_LOOPBACK}:{_DELAY_PORT}",
            "--connect", f"{hop[0]}:{hop[1]}", "--delay", f"{link.delay_s:.9f}s", "--window", f"{window}B",
        ]  # fmt: skip
        forwarder.append(_listening(group, command, "delay", hosts.a.namespace, _DELAY_PORT))
        hop = (_LOOPBACK, _DELAY_PORT)
    if tunnel:
        command = tunnel.near_end(hop, (_LOOPBACK, _NEAR_PORT), (inside, MIGRATION_PORT))
        ends.append(_listening(group, command, "tunnel-near", hosts.a.namespace, _NEAR_PORT))
        hop = (_LOOPBACK, _NEAR_PORT)
    return Route(
        to=f"{hop[0]}:{hop[1]}",
        incoming=f"tcp:{inside}:{MIGRATION_PORT}",
        delay_by=delay_by,
        tunnel=tuple(ends),
        forwarder=tuple(forwarder),
        protection=tunnel.version if tunnel else "",
    )


def _tunnel(security: Security, folder: Path) -> Tunnel | None:
    match security:
        case Security.NONE:
            return None
        case Security.SSH:
            return ssh_tunnel(folder)
        case Security.TLS:
            return tls_tunnel(folder)


def _listening(
    group: ProcessGroup, command: list[str], name: str, namespace: str, port: int, timeout_s: float = 20.0
) -> Process:
    process = group.start(command, name=name, namespace=namespace)
    deadline_s = time.monotonic() + timeout_s
    while not _listens(process.pid, port):
        process.require_running()
        if time.monotonic() > deadline_s:
            raise LabError(f"{name} does not listen after {timeout_s:g} s: {process.last_words()}")
        time.sleep(0.02)
    return process


def _listens(pid: int, port: int) -> bool:
    """Look at the TCP sockets of the process's namespace: connecting would reach through the tunnel."""
    try:
        lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return False
    sockets = [line.split() for line in lines]
    return any(words[1].endswith(f":{port:04X}") and words[3] == _LISTENING for words in sockets)


def link_record(link: LinkSpec, route: Route) -> LinkRecord:
    """Return the record of the link for a result."""
    return LinkRecord(
        link.bandwidth_bps, link.changes, link.delay_s, route.delay_by, link.security.value, route.protection
    )
