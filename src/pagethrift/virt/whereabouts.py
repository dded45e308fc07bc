"""Where the domain runs: asked of both libvirts, never assumed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from pagethrift.errors import VirtError
from pagethrift.virt.hypervisor import GONE, PAUSED, RUNNING, SHUT_OFF, Hypervisor

ABSENT = frozenset({GONE, SHUT_OFF})


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What both libvirts said at one moment; an empty state: it gave no answer."""

    name: str
    source_uri: str
    destination_uri: str
    source: str
    destination: str
    was_paused: bool = False
    """the guest was paused before"""
    leave_paused: bool = False
    """it is to be paused at the destination"""

    @property
    def arrived(self) -> bool:
        """Whether the domain is at the destination, as it should be, and not at the source."""
        wanted = (RUNNING, PAUSED) if self.was_paused or self.leave_paused else (RUNNING,)
        return self.destination in wanted and self.source not in (RUNNING, "")

    @property
    def alone_at_destination(self) -> bool:
        """Whether the destination runs it and the source is silent: enough, if the job is done."""
        return self.destination == RUNNING and not self.source

    @property
    def stayed(self) -> bool:
        """Whether the domain is at the source, as it was, and does not run at the destination."""
        wanted = (RUNNING, PAUSED) if self.was_paused else (RUNNING,)
        return self.source in wanted and self.destination != RUNNING

    @property
    def at_one_end(self) -> bool:
        """Whether nobody needs to act."""
        return self.arrived or self.stayed

    def sentence(self) -> str:
        """Return where the domain is and, if somebody must act, how."""
        source, destination = self.source, self.destination
        if source == destination == RUNNING:
            return (
                f"domain {self.name} runs at BOTH ends: destroy the one at the destination at once"
                f" ({self._virsh(self.destination_uri, 'destroy')})"
            )
        if self.arrived:
            how = "runs" if destination == RUNNING else "is paused"
            return f"domain {self.name} {how} at the destination ({self.destination_uri})"
        if self.stayed:
            how = "runs on" if source == RUNNING else "stays paused"
            unasked = "; the destination does not answer" * (not destination)
            return f"domain {self.name} {how} at the source ({self.source_uri}){unasked}"
        if destination == RUNNING:
            source_said = self._words("source")
            return f"domain {self.name} runs at the destination ({self.destination_uri}), {source_said}"
        said = f"{self._words('source')}, {self._words('destination')}"
        return f"domain {self.name} runs at neither end, as far as anybody says ({said}): {self._advice()}"

    def _words(self, role: str) -> str:
        state = self.source if role == "source" else self.destination
        return f"the {role} says {state}" if state else f"the {role} does not answer"

    def _advice(self) -> str:
        resume = "resume"
        if self.destination == PAUSED and self.source in ABSENT:
            return self._virsh(self.destination_uri, resume)
        if self.source == PAUSED and self.destination in ABSENT:
            return self._virsh(self.source_uri, resume)
        if not self.source or not self.destination:
            return "ask the silent one with virsh domstate; resume the domain at one end, never at both"
        if self.source == self.destination == PAUSED:
            first = self._virsh(self.source_uri, resume)
            return f"{first}, and destroy the one at the destination; never resume both"
        return f"start it anew ({self._virsh(self.source_uri, 'start')})"

    def _virsh(self, uri: str, what: str) -> str:
        return f"virsh -c {uri} {what} {self.name}"


async def ask_both(
    name: str,
    uuid: str,
    source: Hypervisor,
    destination: Hypervisor | None,
    destination_uri: str,
    paused: tuple[bool, bool],
) -> Whereabouts:
    """Ask both libvirts, over new connections where the old ones have broken; never raises.

    ``paused``: the guest was paused before; it is to be paused at the destination.
    """
    first, second = await asyncio.gather(_ask(source, uuid), _ask(destination, uuid))
    return Whereabouts(name, source.uri, destination_uri, first, second, *paused)


async def _ask(hypervisor: Hypervisor | None, uuid: str) -> str:
    if hypervisor is None:
        return ""
    try:
        return await hypervisor.state(uuid)
    except VirtError:
        pass
    try:
        again = await Hypervisor.connect(hypervisor.libvirt, hypervisor.uri, hypervisor.role)
    except VirtError:
        return ""
    try:
        return await again.state(uuid)
    except VirtError:
        return ""
    finally:
        await again.close()
