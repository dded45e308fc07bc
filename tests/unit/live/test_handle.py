"""A migration in the hands of other threads."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future
from dataclasses import replace

import pytest

from pagethrift.errors import PagethriftError, QmpError, UsageError
from pagethrift.live import handle as module
from pagethrift.live.handle import Handle
from pagethrift.live.migrate_options import MigrateOptions, PlainFeatures
from pagethrift.model.relay_protocol import Change, RelayState, RelayStatus
from pagethrift.model.result import PageCounters
from pagethrift.model.running import RunKind
from tests.unit.cli.test_progress import LOOK

OPTIONS = MigrateOptions("/run/vm1.qmp", "host2:4444", migration_id="one", downtime_limit_s=0.4)


def test_before_the_first_look() -> None:
    running = Handle(replace(OPTIONS, features=PlainFeatures(max_bandwidth_bps=5))).running
    assert (running.id, running.kind, running.pid) == ("one", RunKind.MIGRATE, os.getpid())
    assert (running.source, running.destination, running.state) == ("/run/vm1.qmp", "host2:4444", "setup")
    assert (running.downtime_limit_s, running.bandwidth_cap_bps) == (0.4, 5.0)


def test_a_look_joins_what_the_driver_and_the_relay_know() -> None:
    handle = Handle(OPTIONS)
    relay = RelayStatus(
        RelayState.RAM, in_bytes=500, unsent_bytes=7, page_bytes=PageCounters(full=4104), refused=1,
        peak_rss_bytes=9, round=1,
    )  # fmt: skip
    seen = replace(LOOK, downtime_limit_s=0.5, bandwidth_cap_bps=3, switchover="fits", warning="odd")
    handle.look(seen, relay, (30, 40))
    running = handle.running
    assert (running.state, running.round, running.remaining_bytes) == ("active", 2, LOOK.remaining_bytes)
    assert (running.in_bytes, running.unsent_bytes, running.page_bytes.full) == (500, 7, 4104)
    assert (running.out_bytes, running.link_bps) == (LOOK.sent_bytes, LOOK.link_bps)
    assert (running.first_round_bytes, running.retransferred_bytes) == (30, 40)
    assert (running.downtime_limit_s, running.bandwidth_cap_bps) == (0.5, 3.0)
    assert (running.switchover, running.warning, running.refused) == ("fits", "odd", 1)
    assert running.predicted_downtime_s == LOOK.predicted_downtime_s
    assert running.began_unix_s > 0
    assert not running.failed
    handle.look(replace(seen, phase="failed"), relay, (30, 40))
    assert handle.running.failed


def changed_from_a_thread(handle: Handle, answer: PagethriftError | None, slow: bool = False) -> Change:
    """Change a migration whose loop answers so; return what reached it."""
    reached: list[Change] = []

    async def carry_out(change: Change) -> None:
        reached.append(change)
        if slow:
            await asyncio.sleep(5)
        if answer is not None:
            raise answer

    async def run() -> None:
        handle.open("vm1", 7, carry_out)
        done: Future[None] = Future()

        def ask() -> None:
            try:
                handle.change(Change(0.7, 9))
                done.set_result(None)
            except Exception as error:
                done.set_exception(error)

        threading.Thread(target=ask).start()
        await asyncio.wrap_future(done)

    asyncio.run(run())
    return reached[0]


def test_a_change_is_in_force_when_it_returns() -> None:
    handle = Handle(OPTIONS)
    assert changed_from_a_thread(handle, None) == Change(0.7, 9)
    assert (handle.running.downtime_limit_s, handle.running.bandwidth_cap_bps) == (0.7, 9.0)
    assert (handle.running.guest, handle.running.relay_pid) == ("vm1", 7)


def test_a_refusal_reaches_who_asked() -> None:
    handle = Handle(OPTIONS)
    with pytest.raises(UsageError, match="too late"):
        changed_from_a_thread(handle, UsageError("too late"))
    assert handle.running.downtime_limit_s == 0.4


def test_a_qemu_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHANGE_S", 0.1)
    with pytest.raises(QmpError, match="did not confirm"):
        changed_from_a_thread(Handle(OPTIONS), None, slow=True)


def test_too_early_and_too_late() -> None:
    handle = Handle(OPTIONS)
    with pytest.raises(UsageError, match="has not begun, or is over"):
        handle.change(Change(0.5))
    changed_from_a_thread(handle, None)
    handle.close()
    with pytest.raises(UsageError, match="has not begun, or is over"):
        handle.change(Change(0.5))
