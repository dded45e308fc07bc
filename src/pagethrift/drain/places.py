"""Where a guest is: asked of both ends, by QMP or of both libvirts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from pagethrift.errors import PagethriftError, QmpError
from pagethrift.evacuation.plan import Guest
from pagethrift.live.qmp import QmpMonitor
from pagethrift.live.restore import restore
from pagethrift.live.whereabouts import ask


class Place(Enum):
    """Where a guest is."""

    SOURCE = auto()
    DESTINATION = auto()
    UNKNOWN = auto()
    """at neither end, at both, or nobody can say"""


@dataclass(frozen=True, slots=True)
class Found:
    """What both ends said."""

    place: Place
    sentence: str


async def find(guest: Guest) -> Found:
    """Ask both ends; put back what a killed migration may have left of QEMU's settings. Never raises."""
    try:
        return await (_by_libvirt(guest) if guest.by_libvirt else _by_qmp(guest))
    except PagethriftError as error:
        return Found(Place.UNKNOWN, str(error))


async def _by_qmp(guest: Guest) -> Found:
    try:
        found = await restore(guest.qmp, guest.destination_qmp or None)
    except QmpError as error:
        return await _at_destination(guest, str(error))
    source, destination = found.source, found.destination
    if destination is not None and destination.running and not source.running:
        return Found(Place.DESTINATION, found.guest)
    if destination is None and source.run_state == "postmigrate":
        return Found(Place.DESTINATION, "the source has handed it over; nobody could ask the destination")
    if found.in_doubt or not source.run_state or source.run_state == "postmigrate":
        return Found(Place.UNKNOWN, found.guest)
    return Found(Place.SOURCE, found.guest)


async def _at_destination(guest: Guest, said: str) -> Found:
    """The source gives no answer, or not yet: whether the destination runs the guest says enough."""
    if not guest.destination_qmp:
        return Found(Place.UNKNOWN, said)
    monitor = await QmpMonitor.connect(guest.destination_qmp, "destination")
    try:
        state = await ask(monitor)
    finally:
        await monitor.close()
    if state.running and await _source_is_gone(guest):
        return Found(Place.DESTINATION, "the guest runs at the destination; the source QEMU has ended")
    return Found(Place.UNKNOWN, f"{said}; the destination {state.words()}")


async def _source_is_gone(guest: Guest) -> bool:
    """Whether nobody listens at the source's monitor any more."""
    try:
        monitor = await QmpMonitor.connect(guest.qmp, "source")
    except QmpError as error:  # busy, refused by rights, silent: somebody is there, or nobody knows
        return isinstance(error.__cause__, ConnectionRefusedError | FileNotFoundError)
    await monitor.close()
    return False


async def _by_libvirt(guest: Guest) -> Found:
    # here, not above: without libvirt guests its library is not needed
    from pagethrift.virt.hypervisor import RUNNING, Hypervisor
    from pagethrift.virt.library import load

    libvirt, states = load(), []
    for uri, role in ((guest.connect, "source"), (guest.desturi, "destination")):
        hypervisor = await Hypervisor.connect(libvirt, uri, role)
        try:
            there = [each for each in await hypervisor.active() if guest.domain in (each.name, each.uuid)]
            states.append(await hypervisor.state(there[0].uuid) if there else "")
        finally:
            await hypervisor.close()
    here, gone = states
    if here and not gone:
        return Found(Place.SOURCE, f"domain {guest.domain} is {here} at the source ({guest.connect})")
    if gone == RUNNING and not here:
        return Found(
            Place.DESTINATION, f"domain {guest.domain} is {gone} at the destination ({guest.desturi})"
        )
    both = f"the source says {here or 'nothing of it'}, the destination {gone or 'nothing of it'}"
    return Found(Place.UNKNOWN, f"domain {guest.domain}: {both}")
