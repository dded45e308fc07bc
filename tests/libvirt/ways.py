"""The ways that a domain can travel by: virsh alone, virsh through a relay, and steered by pagethrift."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pagethrift.lab.hosts.namespaces import NamespaceThread
from tests.libvirt.guest import Guest, RelayAlone, Trip
from tests.libvirt.hosts import LibvirtHost, until
from tests.libvirt.overheard import attached
from tests.nat import GROUP, LISTEN, remove_rule, set_rule
from tests.proxies import Proxy
from tests.services import ServiceProcess

Way = Callable[..., tuple[Trip, dict[str, Any]]]
"""moves the guest, with the options it is given; returns the trip, and what pagethrift itself counted"""

PORT = 49216
"""of relays and services: within libvirt's range of ports, and not among those it gives out first"""
SOCKET = "/run/guest/migration"


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
    with service_on(guest.here, "--map", way) as running:
        uri = f"tcp://127.77.0.2:{PORT}"
        trip = guest.virsh_migrate("--migrateuri", uri, *_listening(guest), *options, **more)
        return trip, _only_end(running)


def redirect(guest: Guest, *options: str, **more: Any) -> tuple[Trip, dict[str, Any]]:
    """The service by a nat rule: virsh is told nothing."""
    with redirected(guest.here), service_on(guest.here, *LISTEN) as running:
        trip = guest.virsh_migrate(*options, **more)
        return trip, _only_end(running)


def unix_socket(guest: Guest, *options: str, **more: Any) -> tuple[Trip, dict[str, Any]]:
    """Both QEMUs have unix sockets, and the relay's link leads to a pipe at the destination."""
    with (
        piped_to(guest.there, SOCKET) as far,
        service_on(guest.here, "--pair", f"unix:{SOCKET}={far}") as running,
    ):
        trip = guest.virsh_migrate("--migrateuri", f"unix://{SOCKET}", *options, **more)
        return trip, _only_end(running)


def steered(guest: Guest, *options: str, **more: Any) -> tuple[Trip, dict[str, Any]]:
    """``pagethrift libvirt migrate``."""
    trip = guest.pagethrift_migrate(*options, **more)
    return trip, trip.result


def parallel(guest: Guest, *options: str, **more: Any) -> tuple[Trip, dict[str, Any]]:
    """``pagethrift libvirt migrate --parallel``: compressed channels."""
    return steered(guest, "--parallel", *options, **more)


def attach(guest: Guest, *options: str, **more: Any) -> tuple[Trip, dict[str, Any]]:
    """Virsh begins, ``pagethrift libvirt attach`` steers."""
    near, far = f"127.0.0.1:{PORT}", f"{guest.there.host.link_address}:{PORT}"
    out = guest.here.path("/run/guest")
    with attached(guest.here, near, far, "--out", "/run/guest/") as steering:
        trip = guest.virsh_migrate("--migrateuri", f"tcp://{near}", *_listening(guest), *options, **more)
        steering.wait(20)
    return trip, _taken(out)


WAYS: dict[str, Way] = {
    "virsh": plain, "relay": relay_alone, "map": address_map, "redirect": redirect, "unix": unix_socket,
    "migrate": steered, "attach": attach, "parallel": parallel,
}  # fmt: skip
QEMU_DECIDES = ("virsh", "relay", "map", "redirect", "unix")


@contextlib.contextmanager
def service_on(host: LibvirtHost, *ways: str) -> Iterator[ServiceProcess]:
    """Run the service there, in a group of its own."""
    with ServiceProcess(*ways, prefix=host.command([]), group=GROUP) as service:
        for way in ways:
            if way.startswith("unix:"):  # QEMU is another user
                host.path(way.removeprefix("unix:").partition("=")[0]).chmod(0o666)
        yield service


@contextlib.contextmanager
def redirected(host: LibvirtHost) -> Iterator[None]:
    """Have the rule of docs/operating.md there."""
    thread = NamespaceThread(host.host.namespace)
    try:
        set_rule(thread)
        try:
            yield
        finally:
            remove_rule(thread)
    finally:
        thread.close()


@contextlib.contextmanager
def piped_to(host: LibvirtHost, path: str) -> Iterator[str]:
    """Have a pipe there from TCP to a unix socket, as KubeVirt has it; yield its address."""
    address = host.host.link_address
    thread = NamespaceThread(host.host.namespace)
    try:
        listener = thread.call(socket.create_server, (address, 0))
        with Proxy(listener, host.path(path)):
            yield f"{address}:{listener.getsockname()[1]}"
    finally:
        thread.close()


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
