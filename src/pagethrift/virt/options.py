"""What an operator asks of one migration under libvirt."""

from __future__ import annotations

import random
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pagethrift.address import Address, parse_address
from pagethrift.errors import LinkError, UsageError
from pagethrift.live.migrate_options import Order
from pagethrift.model.channels import CHANNELS_MAX, Compress
from pagethrift.model.defaults import SOURCE_URI

NEAR_HOST = "127.0.0.1"
"""where the relay listens, for the source's libvirtd or QEMU"""
PARALLEL_ZSTD = 9_004_000
"""the first libvirt that compresses parallel connections (news of 9.4.0)"""
PORTS = range(49184, 49216)
"""libvirt itself takes 49152 to 49215 for migrations, from the lower end, and firewalls let those pass"""


@dataclass(frozen=True, slots=True)
class VirtOptions(Order):
    """One migration of ``domain``; the source's libvirtd reaches the other one by ``destination_uri``."""

    domain: str
    """name, UUID or number"""
    destination_uri: str
    source_uri: str = SOURCE_URI
    to: str = ""
    """HOST:PORT of the destination's QEMU; default: the host of ``destination_uri`` and a port of PORTS"""
    listen_address: str = ""
    """where the destination's QEMU is to listen; default: as its libvirt is configured"""
    persistent: bool = False
    undefine_source: bool = False
    suspend: bool = False
    """leave the guest paused at the destination"""
    unsafe: bool = False
    abort_on_error: bool = False
    parallel: int | None = None
    """so many connections, QEMU to relay and relay to destination, compressed with zstd"""
    compress: Compress = Compress.AUTO
    """which pages the relay compresses, with ``parallel``"""
    result_path: Path | None = None
    facts_log: Path | None = None

    def check(self) -> None:
        """Raise UsageError when the options contradict each other."""
        self.destination(0)
        if self.listen_address and "/" in self.listen_address:
            raise UsageError(f"--listen-address {self.listen_address}: give an address of the destination")
        check_downtime_limit(self.downtime_limit_s)
        if self.parallel is not None and not 1 <= self.parallel <= CHANNELS_MAX:
            raise UsageError(f"--parallel-connections {self.parallel}: choose 1 to {CHANNELS_MAX}")
        if self.undefine_source and not self.persistent:
            raise UsageError("--undefinesource alone leaves no definition anywhere; give --persistent too")

    def destination(self, port: int) -> Address:
        """Return where the destination's QEMU listens; ``port`` where the operator names none.

        Raises UsageError.
        """
        if self.to:
            found = parse_address(self.to)
            if found.path:
                raise UsageError(f"--to {self.to}: libvirt migrates over TCP; write HOST:PORT")
            return found
        try:
            host = urlsplit(self.destination_uri).hostname
        except ValueError as error:
            raise UsageError(f"{self.destination_uri}: {error}; write qemu+ssh://HOST/system") from error
        if not host:
            raise UsageError(
                f"{self.destination_uri} names no host that both libvirts are reached by; write"
                " qemu+ssh://HOST/system, or give --to HOST:PORT"
            )
        return Address(host=host, port=port)

    def flags(self, libvirt: Any) -> int:
        """Return the flags of virDomainMigrateToURI3."""
        found = int(libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER)
        for wanted, flag in (
            (self.persistent, libvirt.VIR_MIGRATE_PERSIST_DEST),
            (self.undefine_source, libvirt.VIR_MIGRATE_UNDEFINE_SOURCE),
            (self.suspend, libvirt.VIR_MIGRATE_PAUSED),
            (self.unsafe, libvirt.VIR_MIGRATE_UNSAFE),
            (self.abort_on_error, libvirt.VIR_MIGRATE_ABORT_ON_ERROR),
            (self.parallel is not None, libvirt.VIR_MIGRATE_PARALLEL),
        ):
            found |= int(flag) if wanted else 0
        return found


def check_downtime_limit(limit_s: float) -> None:
    """Raise UsageError for a limit that libvirt's milliseconds, of which one holds QEMU, cannot say."""
    if not limit_s > 0.001:
        raise UsageError("the downtime limit must be more than 1 ms, e.g. 300ms")


def free_port() -> int:
    """Return one of PORTS at which nobody listens on this host; the destination is asked by libvirt.

    Which one is drawn, so that two migrations to one destination seldom want the same. Raises LinkError.
    """
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as trial:
            try:
                trial.bind((NEAR_HOST, port))
            except OSError:
                continue
            return port
    raise LinkError(f"no port of {PORTS[0]} to {PORTS[-1]} is free on this host; give --to HOST:PORT")
