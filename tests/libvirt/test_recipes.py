"""Recipes for libvirt: what leads virsh through the service, and that the guest arrives whole.

On libvirt 11.3 only: where a migration is led does not depend on the version.
"""

from __future__ import annotations

import pytest

from tests.libvirt.guest import Guest, Trip
from tests.libvirt.hosts import LibvirtHost
from tests.libvirt.ways import piped_to, redirected, service_on
from tests.nat import LISTEN
from tests.services import ServiceProcess

MAPPED = "127.77.0.2"
PORTS = range(49152, 49216)
"""libvirt's"""


@pytest.fixture(autouse=True)
def _newer_libvirt_only(guest: Guest) -> None:
    if not guest.lab.versions.startswith("libvirt 11."):
        pytest.skip("led the same way by every version: tested with libvirt 11.3")


@pytest.fixture(scope="module")
def plain_bytes(_guest: Guest) -> int:
    """What the link carried for this guest, led nowhere."""
    _guest.run()
    trip = _guest.virsh_migrate()
    assert trip.code == 0, trip.errors
    return trip.link_bytes


def assert_thinned(guest: Guest, trip: Trip, service: ServiceProcess, plain_bytes: int) -> str:
    """Fail unless the guest came through the service, whole, by fewer bytes; return the destination."""
    assert trip.code == 0, trip.errors
    assert trip.differing == []
    (end,) = service.wait_for_ends(1)
    assert end["error"] is None
    assert end["out_bytes"] < end["in_bytes"]
    assert end["out_bytes"] < trip.link_bytes < 1.15 * end["out_bytes"] + 2_000_000
    assert trip.link_bytes < plain_bytes
    return str(end["destination"])


def assert_of_libvirt(destination: str, host: LibvirtHost) -> None:
    """Fail unless it is a port of libvirt's range at a host."""
    address, _, port = destination.rpartition(":")
    assert address == host.host.link_address
    assert int(port) in PORTS


def address_map(host: LibvirtHost) -> tuple[str, str]:
    return "--map", f"{MAPPED}:{PORTS[0]}-{PORTS[-1]}={host.host.link_address}"


def test_a_redirected_virsh_migrates_through_the_service(guest: Guest, plain_bytes: int) -> None:
    """Nothing in libvirt is changed; the destination is named as Nova names it, tcp://HOST."""
    here, there = guest.here, guest.there
    name = "hostb" if there is guest.lab.b else "hosta"
    with redirected(here), service_on(here, *LISTEN) as service:
        trip = guest.virsh_migrate("--migrateuri", f"tcp://{name}", "--suspend", compare=True)
        assert_of_libvirt(assert_thinned(guest, trip, service, plain_bytes), there)


@pytest.mark.long
def test_the_address_map_leads_virsh_through_the_service(guest: Guest, plain_bytes: int) -> None:
    there = guest.there
    with service_on(guest.here, *address_map(there)) as service:
        trip = guest.virsh_migrate(
            "--migrateuri", f"tcp://{MAPPED}", "--listen-address", there.host.link_address, "--suspend",
            compare=True,
        )  # fmt: skip
        assert_of_libvirt(assert_thinned(guest, trip, service, plain_bytes), there)


@pytest.mark.long
def test_the_destinations_migration_host_leads_virsh_through_the_service(
    guest: Guest, plain_bytes: int
) -> None:
    """The source says nothing of it: as virt-manager without an address, and Nova without an inbound one."""
    there = guest.there
    settings = there.path("/etc/libvirt/qemu.conf")
    before = settings.read_text()
    try:
        settings.write_text(f'{before}migration_host = "{MAPPED}"\n')
        there.end_libvirtd()
        there.start_libvirtd()
        with service_on(guest.here, *address_map(there)) as service:
            trip = guest.virsh_migrate("--suspend", compare=True)
            assert_of_libvirt(assert_thinned(guest, trip, service, plain_bytes), there)
    finally:
        settings.write_text(before)
        there.end_libvirtd()
        there.start_libvirtd()


@pytest.mark.long
def test_a_unix_socket_leads_virsh_through_the_service(guest: Guest, plain_bytes: int) -> None:
    """As KubeVirt does it: one path at both hosts, and a pipe of the operator's from one to the other."""
    path = "/run/guest/migration.sock"
    with (
        piped_to(guest.there, path) as far,
        service_on(guest.here, "--pair", f"unix:{path}={far}") as service,
    ):
        trip = guest.virsh_migrate("--migrateuri", f"unix://{path}", "--suspend", compare=True)
        assert assert_thinned(guest, trip, service, plain_bytes) == far


@pytest.mark.long
def test_tunnelled_passes_the_service_by(guest: Guest) -> None:
    """libvirt sends it inside its own connection: the service sees nothing, so the recipes say so."""
    with redirected(guest.here), service_on(guest.here, *LISTEN) as service:
        trip = guest.virsh_migrate("--tunnelled")
        assert trip.code == 0, trip.errors
        assert service.all("begin") == []
