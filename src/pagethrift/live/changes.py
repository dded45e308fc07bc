"""Carrying out what an operator changes of a running migration: its downtime limit, its share of the link."""

from __future__ import annotations

import time
from dataclasses import replace

from pagethrift.errors import UsageError
from pagethrift.live.ends import Ends
from pagethrift.live.switchover import Switchover
from pagethrift.live.watch import Watch
from pagethrift.model.relay_protocol import Change
from pagethrift.model.result import ChangeRecord


class Changes:
    """Changes one migration until its switchover is decided."""

    def __init__(self, ends: Ends, watch: Watch, switchover: Switchover, qemu_decides: bool) -> None:
        """``qemu_decides``: QEMU switches over by its own downtime limit, and no planner does."""
        self._ends = ends
        self._watch = watch
        self._switchover = switchover
        self._qemu_decides = qemu_decides

    async def carry_out(self, change: Change) -> None:
        """Put a change in force. Raises UsageError when it is too late, QmpError when QEMU refuses."""
        watch = self._watch
        self._refuse_if_late()
        waits = watch.waits_for_go and not change.go
        limit_s = change.downtime_limit_s
        if limit_s is None and watch.waits_for_go and change.go:
            limit_s = watch.downtime_limit_s
        if self._qemu_decides and limit_s is not None and not waits:
            await self._switchover.leave_to_qemu(limit_s)
        if change.bandwidth_bps is not None and self._ends.relay is None and not waits:
            # while it waits the pilot paces QEMU, below this cap as soon as it is known
            await self._ends.settings.set({"max-bandwidth": change.bandwidth_bps})
        if self._switchover.gone:  # decided while QEMU answered: what was just set would hold it back
            await self._switchover.go()
            raise UsageError("nothing was changed: the switchover was decided at the same time")
        for_relay = replace(change, go=False)
        if self._ends.relay is not None and for_relay != Change():
            self._ends.relay.tell_change(for_relay)
        if change.downtime_limit_s is not None:
            watch.downtime_limit_s = change.downtime_limit_s
        if change.bandwidth_bps is not None:
            watch.bandwidth_cap_bps = change.bandwidth_bps
        at_s = time.monotonic() - watch.began_s
        if watch.waits_for_go and change.go:
            watch.waits_for_go, watch.went_s = False, time.monotonic()
        watch.changes.append(ChangeRecord(at_s, change.downtime_limit_s, change.bandwidth_bps, change.go))

    def _refuse_if_late(self) -> None:
        watch = self._watch
        if self._switchover.gone or watch.stopped_s is not None or watch.ended:
            raise UsageError("nothing was changed: the switchover has begun")
        if watch.status.startswith("postcopy"):
            raise UsageError("nothing was changed: the guest is at the destination already (post-copy)")
