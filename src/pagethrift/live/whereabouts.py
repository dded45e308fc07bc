"""Where the guest is: asked of both ends, never assumed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from pagethrift.live.qmp import QmpMonitor

ASK_S = 3.0
"""a QEMU that does not answer by then is said not to answer"""


@dataclass(frozen=True, slots=True)
class EndState:
    """What one QEMU says of its guest."""

    path: str
    """its QMP socket"""
    run_state: str = ""
    """as query-status names it; empty: it gave no answer"""
    ended: bool = False
    """its process is gone"""

    @property
    def silent(self) -> bool:
        """Whether nothing is known of it."""
        return not (self.run_state or self.ended)

    @property
    def running(self) -> bool:
        """Whether its vCPUs run."""
        return self.run_state == "running"

    def words(self) -> str:
        """Return what is known, as part of a sentence."""
        if self.ended:
            return "has ended"
        return f"says {self.run_state}" if self.run_state else "does not answer"


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What both ends said at one moment."""

    source: EndState
    destination: EndState | None
    """None: nobody can ask it (no --destination-qmp)"""
    all_sent: bool
    """the destination may hold the whole guest"""
    ran: bool = True
    """the guest ran until the switchover, if there was one; a paused one is to stay paused"""

    def sentence(self) -> str:
        """Return where the guest is and, if somebody must act, how."""
        source, destination = self.source, self.destination
        if not self.ran and source.run_state and not self.all_sent:
            return f"the guest stays at the source, which says {source.run_state}"
        if destination is None:
            return self._source_alone()
        if source.running and destination.running:
            return (
                "the guest runs at BOTH ends: end the destination QEMU at once"
                f" (send quit to {destination.path})"
            )
        if destination.running:
            return "the guest runs at the destination"
        if source.running:
            hangs = (
                f"; the destination QEMU ({destination.path}) does not answer: a broken connection can make"
                " it hang for good, so end its process and start it anew"
            )
            return "the guest runs on at the source" + hangs * destination.silent
        return self._nowhere(destination)

    @property
    def at_one_end(self) -> bool:
        """Whether the guest is certainly where it should be: running at exactly one end, or paused."""
        if not self.ran and not self.all_sent:
            return bool(self.source.run_state)
        if self.destination is None:
            return self.source.running and not self.all_sent
        return self.source.running != self.destination.running

    def _source_alone(self) -> str:
        source = self.source
        if source.running and not self.all_sent:
            return "the guest runs on at the source"
        if source.running:
            return (
                "the guest runs at the source; without --destination-qmp nobody could ask the destination,"
                " which may run it too: look at it, and end it if it does"
            )
        if not self.all_sent:
            return (
                f"the source {source.words()}; the destination cannot run the guest, not all of it was sent"
            )
        return (
            f"the source {source.words()}; without --destination-qmp nobody could ask the destination: if the"
            f" guest does not run there, send cont to one end, never to both (source: {source.path})"
        )

    def _nowhere(self, destination: EndState) -> str:
        source = self.source
        said = f"the source {source.words()}, the destination {destination.words()}"
        if source.ended and (destination.ended or not self.all_sent):
            advice = "start it anew"
        elif destination.ended or not self.all_sent:
            advice = f"send cont to the source ({source.path})"
            advice += ", which alone can run it, if it does not" * source.silent
        elif source.silent:
            advice = (
                f"ask the source ({source.path}) with query-status: if it says postmigrate, or has ended,"
                f" send cont to the destination ({destination.path}), never to both"
            )
        elif destination.run_state:
            advice = f"send cont to the destination ({destination.path}), never to both"
        else:
            advice = (
                f"look at the destination's process; send cont to it ({destination.path}), or to the source"
                f" ({source.path}) once the destination has ended, never to both"
            )
        if source.silent or destination.silent:
            return f"nobody can say whether the guest runs ({said}): {advice}"
        return f"the guest runs at neither end ({said}): {advice}"


async def ask(monitor: QmpMonitor) -> EndState:
    """Ask one QEMU, over a new connection if the old one is gone; never raises."""
    try:
        return EndState(monitor.path, await monitor.query_status(timeout_s=ASK_S))
    except Exception:  # whatever it is, there is no answer; memory may have run out
        pass
    if monitor.process_ended:
        return EndState(monitor.path, ended=True)
    if monitor.alive:
        return EndState(monitor.path)
    try:
        again = await QmpMonitor.connect(monitor.path, monitor.role)
    except Exception:
        return EndState(monitor.path, ended=monitor.process_ended)
    try:
        return EndState(monitor.path, await again.query_status(timeout_s=ASK_S))
    except Exception:
        return EndState(monitor.path, ended=monitor.process_ended)
    finally:
        await again.close()


async def whereabouts(
    source: QmpMonitor, destination: QmpMonitor | None, all_sent: bool, ran: bool
) -> Whereabouts:
    """Ask both ends at the same time; never raises."""
    if destination is None:
        return Whereabouts(await ask(source), None, all_sent, ran)
    first, second = await asyncio.gather(ask(source), ask(destination))
    return Whereabouts(first, second, all_sent, ran)
