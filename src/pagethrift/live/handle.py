"""A migration in the hands of others while it runs: its last status, and changes that operators ask for."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from pagethrift.errors import QmpError, UsageError
from pagethrift.live.migrate_options import MigrateOptions
from pagethrift.live.watch import Progress
from pagethrift.model.relay_protocol import Change, RelayStatus
from pagethrift.model.running import RunKind, Running

CHANGE_S = 10.0
"""how long a change waits for QEMU's answer"""


class Handle:
    """Made before the migration, which fills it; any thread may use ``running`` and ``change``."""

    def __init__(self, options: MigrateOptions) -> None:
        self.running = Running(
            id=options.migration_id,
            kind=RunKind.MIGRATE,
            pid=os.getpid(),
            source=options.source_qmp,
            destination=options.destination,
            began_unix_s=time.time(),
            state="setup",
            downtime_limit_s=options.downtime_limit_s,
            bandwidth_cap_bps=float(options.cap_bps or options.features.max_bandwidth_bps or 0),
            waits_for_go=options.wait_for_go,
        )
        """as of the last look, a tenth of a second ago at most"""
        self._carry_out: Callable[[Change], Awaitable[None]] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, guest: str, relay_pid: int, carry_out: Callable[[Change], Awaitable[None]]) -> None:
        """Let others change the migration from now on, by ``carry_out`` in this thread's event loop."""
        self.running = replace(self.running, guest=guest, relay_pid=relay_pid)
        self._carry_out, self._loop = carry_out, asyncio.get_running_loop()

    def close(self) -> None:
        """Take no more changes: the migration is over."""
        self._carry_out = None

    def look(self, progress: Progress, relay: RelayStatus, sent: tuple[int, int]) -> None:
        """Take in how far the migration is; ``sent``: RAM bytes first and again, as the watch counts them."""
        self.running = replace(
            self.running.with_relay(relay),
            state=progress.phase,
            round=progress.round,
            ram_bytes=progress.ram_bytes,
            remaining_bytes=progress.remaining_bytes,
            out_bytes=progress.sent_bytes,
            link_bps=progress.link_bps,
            pages=progress.pages,
            first_round_bytes=sent[0],
            retransferred_bytes=sent[1],
            predicted_downtime_s=progress.predicted_downtime_s,
            downtime_limit_s=progress.downtime_limit_s,
            bandwidth_cap_bps=float(progress.bandwidth_cap_bps or 0),
            waits_for_go=progress.waits_for_go,
            switchover=progress.switchover,
            failed=progress.phase == "failed",
            warning=progress.warning,
        )

    def change(self, change: Change) -> None:
        """Change the migration and wait until that is in force. Call from another thread.

        Raises UsageError when it is too late or too early, QmpError when QEMU refuses or does not answer.
        """
        carry_out, loop = self._carry_out, self._loop
        if carry_out is None or loop is None:
            raise UsageError("nothing was changed: the migration has not begun, or is over")

        async def change_it() -> None:
            await carry_out(change)
            limit_s, bandwidth_bps, now = change.downtime_limit_s, change.bandwidth_bps, self.running
            self.running = replace(
                now,
                downtime_limit_s=now.downtime_limit_s if limit_s is None else limit_s,
                bandwidth_cap_bps=now.bandwidth_cap_bps if bandwidth_bps is None else float(bandwidth_bps),
                waits_for_go=now.waits_for_go and not change.go,
            )

        future = asyncio.run_coroutine_threadsafe(change_it(), loop)
        try:
            future.result(CHANGE_S)
        except concurrent.futures.TimeoutError as error:
            future.cancel()
            raise QmpError(f"the source did not confirm the change within {CHANGE_S:.0f} s") from error
        except concurrent.futures.CancelledError as error:
            raise UsageError("nothing was changed: the migration is over") from error
