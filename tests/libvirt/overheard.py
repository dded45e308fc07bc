"""Migrations with a tee on both sides of the relay: what the source sent, what was passed on, what arrived.

On QEMU before 9.0 under TCG the source's RAM says less than what the source sent (docs/lab.md).
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from pagethrift.stream.image import image
from tests.libvirt.guest import PAGETHRIFT, Guest, Trip
from tests.libvirt.hosts import LibvirtHost
from tests.qemu.machines import differing_pages

TEE = Path(__file__).with_name("tee.py")
IN_PORT, RELAY_PORT, OUT_PORT = 49208, 49209, 49210
PIECE_BYTES = 1 << 22
END_S = 15.0


@dataclass(frozen=True, slots=True)
class Overheard:
    """One migration; pages are addresses, streams are read by pagethrift's own reader."""

    trip: Trip
    in_bytes: int
    out_bytes: int
    not_sent: list[int]
    """pages that the source has otherwise than it sent them last"""
    changed: list[int]
    """pages that the relay passed on otherwise than they came"""
    loaded_otherwise: list[int]
    """pages that the destination has otherwise than the source sent them"""


def overheard_migration(guest: Guest, folder: Path, *options: str) -> Overheard:
    """Move the guest with virsh, steered by `pagethrift libvirt attach` with ``options``; it is left paused.

    ``folder`` takes both streams. Raises AssertionError when the migration or the attached command fails.
    """
    here, address = guest.here, guest.there.host.link_address
    near, relay, far = (f"127.0.0.1:{port}" for port in (IN_PORT, RELAY_PORT, OUT_PORT))
    came, left = folder / "in", folder / "out"
    with (
        _tee(here, far, f"{address}:{IN_PORT}", left),
        attached(here, relay, far, *options) as steering,
        _tee(here, near, relay, came),
    ):
        trip = guest.virsh_migrate(
            "--migrateuri", f"tcp://{near}", "--listen-address", address, "--suspend", compare=True
        )
        assert trip.code == 0, trip.errors
        assert steering.wait(END_S) == 0
    assert trip.ram is not None
    sent, passed = _ram(came), _ram(left)
    return Overheard(
        trip, came.stat().st_size, left.stat().st_size,
        not_sent=differing_pages(sent, trip.ram.source),
        changed=differing_pages(sent, passed),
        loaded_otherwise=differing_pages(sent, trip.ram.destination),
    )  # fmt: skip


@contextlib.contextmanager
def attached(host: LibvirtHost, listen: str, to: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`pagethrift libvirt attach --once`, once it waits; killed at the end of the block if it still runs."""
    command = [*PAGETHRIFT, "libvirt", "attach", "--listen", listen, "--to", to, "--once", "--json", *options]
    process = subprocess.Popen(
        host.command(command), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stderr is not None
    with _ended(process), process.stderr:
        assert process.stderr.readline() == f"pagethrift: waiting for a migration at {listen}\n"
        yield process


@contextlib.contextmanager
def _tee(host: LibvirtHost, listen: str, connect: str, kept: Path) -> Iterator[None]:
    """A tee, once it listens; it ends with its connection."""
    process = subprocess.Popen(
        host.command([sys.executable, str(TEE), listen, connect, str(kept)]),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    with _ended(process), process.stdout:
        assert process.stdout.readline() == "listens\n"
        yield
        process.wait(END_S)


@contextlib.contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:  # what nsenter started outlives it
            for each in psutil.Process(process.pid).children(recursive=True):
                each.kill()
            process.kill()
        process.wait()


def _ram(path: Path) -> bytes:
    with path.open("rb") as stream:
        return image(iter(lambda: stream.read(PIECE_BYTES), b"")).block("pc.ram").tobytes()
