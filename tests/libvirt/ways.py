"""The ways that a domain can travel by: virsh alone, virsh through a relay, and steered by pagethrift."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.libvirt.guest import PAGETHRIFT, Guest, RelayAlone, Trip
from tests.libvirt.hosts import LibvirtHost, until
from tests.nat import GROUP, redirected
from tests.services import ServiceProcess, kill_tree

Way = Callable[..., tuple[Trip, dict[str, Any]]]
"""moves the guest, with the options it is given; returns the trip, and what pagethrift itself counted"""

PORT = 49216
"""of relays and services: within libvirt's range of ports, and not among those it gives out first"""
SOCKET = "/run/guest/migration"
PIPE = """
import asyncio, contextlib, sys
async def copy(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 18):
            writer.write(data); await writer.drain()
        writer.write_eof()
async def serve(reader, writer):
    far_reader, far_writer = await asyncio.open_unix_connection(sys.argv[3])
    await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
    writer.close(); far_writer.close()
async def main():
    server = await asyncio.start_server(serve, sys.argv[1], int(sys.argv[2]))
    print("listens", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""
"""at the destination, as KubeVirt has it: what comes over TCP goes to QEMU's unix socket"""


def plain(guest: Guest, *options: str, **more: Any) -> tuple[Trip, dict[str, Any]]:
    """Virsh without us."""
    return guest.virsh_migrate(*options, **more), {}


def relay_alone(guest: Guest, *options: str, **more: Any) -> tuple[Trip, dict[str, Any]]:
    """``pagethrift relay`` at the address that --migrateuri names; QEMU decides."""
    relay = RelayAlone(guest, PORT)
    trip = guest.virsh_migrate("--migrateuri", relay.uri, *_listening(guest), *options, **more)
    error = relay.end()
    assert error is None, error
    return trip, relay.status


def address_map(guest: Guest, *options: str, **more: Any) -> tuple[Trip, dict[str, Any]]:
    """The service by an address map: an address of the loopback network stands for the destination."""
    way = f"127.77.0.2:{PORT}={guest.there.host.link_address}"
    with service(guest.here, "--map", way) as running:
        uri = f"tcp://127.77.0.2:{PORT}"
        trip = guest.virsh_migrate("--migrateuri", uri, *_listening(guest), *options, **more)
        return trip, _only_end(running)


def redirect(guest: Guest, *options: str, **more: Any) -> tuple[Trip, dict[str, Any]]:
    """The service by a nat rule: virsh is told nothing."""
    ways = ("--redirect", "127.0.0.1:4400", "--redirect", "[::1]:4400")
    as_group = ("setpriv", f"--regid={GROUP}", "--clear-groups")
    with redirected(guest.here.command([])), service(guest.here, *ways, prefix=as_group) as running:
        trip = guest.virsh_migrate(*options, **more)
        return trip, _only_end(running)


def unix_socket(guest: Guest, *options: str, **more: Any) -> tuple[Trip, dict[str, Any]]:
    """Both QEMUs have unix sockets, and the relay's link leads to a pipe at the destination."""
    address = guest.there.host.link_address
    far = [sys.executable, "-c", PIPE, address, str(PORT), SOCKET]
    pipe = subprocess.Popen(guest.there.command(far), stdout=subprocess.PIPE, text=True)
    try:
        assert pipe.stdout is not None
        assert pipe.stdout.readline() == "listens\n"
        with service(guest.here, "--pair", f"unix:{SOCKET}={address}:{PORT}") as running:
            guest.here.path(SOCKET).chmod(0o666)  # QEMU is another user
            trip = guest.virsh_migrate("--migrateuri", f"unix://{SOCKET}", *options, **more)
            return trip, _only_end(running)
    finally:
        kill_tree(pipe)
        pipe.communicate()


def steered(guest: Guest, *options: str, **more: Any) -> tuple[Trip, dict[str, Any]]:
    """``pagethrift libvirt migrate``."""
    trip = guest.pagethrift_migrate(*options, **more)
    return trip, trip.result


def parallel(guest: Guest, *options: str, **more: Any) -> tuple[Trip, dict[str, Any]]:
    """``pagethrift libvirt migrate --parallel``: compressed channels."""
    return steered(guest, "--parallel", *options, **more)


def attached(guest: Guest, *options: str, **more: Any) -> tuple[Trip, dict[str, Any]]:
    """Virsh begins, ``pagethrift libvirt attach`` steers."""
    near, far = f"127.0.0.1:{PORT}", f"{guest.there.host.link_address}:{PORT}"
    words = [*PAGETHRIFT, "libvirt", "attach", "--listen", near, "--to", far, "--once", "--json"]
    out = guest.here.path("/run/guest")
    process = subprocess.Popen(
        guest.here.command([*words, "--out", "/run/guest/"]), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        assert process.stderr.readline() == f"pagethrift: waiting for a migration at {near}\n"
        trip = guest.virsh_migrate("--migrateuri", f"tcp://{near}", *_listening(guest), *options, **more)
        process.communicate(timeout=20)
        return trip, _taken(out)
    finally:
        kill_tree(process)
        process.communicate()


WAYS: dict[str, Way] = {
    "virsh": plain, "relay": relay_alone, "map": address_map, "redirect": redirect, "unix": unix_socket,
    "migrate": steered, "attach": attached, "parallel": parallel,
}  # fmt: skip
QEMU_DECIDES = ("virsh", "relay", "map", "redirect", "unix")


@contextlib.contextmanager
def service(host: LibvirtHost, *options: str, prefix: tuple[str, ...] = ()) -> Iterator[ServiceProcess]:
    """Run ``relay --serve`` on a host."""
    with ServiceProcess(*options, prefix=host.command(prefix)) as running:
        yield running


def _only_end(running: ServiceProcess) -> dict[str, Any]:
    (end,) = running.wait_for_ends(1)
    assert end["error"] is None, end
    return end


def _listening(guest: Guest) -> tuple[str, str]:
    return "--listen-address", guest.there.host.link_address


def _taken(folder: Path) -> dict[str, Any]:
    found = until(lambda: list(folder.glob("g-*.json")), "the result is written", 10.0)
    assert isinstance(found, list)
    (path,) = found
    result: dict[str, Any] = json.loads(path.read_text())
    path.unlink()
    return result
