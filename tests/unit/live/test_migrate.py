"""Why a migration failed: the relay knows it best, also when QEMU is the first to speak."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pagethrift.errors import LinkError, QmpError
from pagethrift.live.migrate import _LiveMigration
from pagethrift.live.migrate_options import MigrateOptions
from pagethrift.live.relay_process import RelayProcess
from pagethrift.live.watch import Watch

SAY = 'print(\'{"type": "%s", "protocol": 1, %s}\', flush=True)'
LISTENS = SAY % ("status", '"state": "listening"')
FAILED = SAY % ("end", '"error": {"kind": "link", "message": "cannot connect to nobody"}')
DONE = SAY % ("end", '"error": null')


@pytest.mark.parametrize(
    ("last_word", "error"),
    [
        (FAILED, LinkError("cannot connect to nobody")),
        (DONE, QmpError("source s.qmp: migration failed: Channel error: Input/output error")),
    ],
)
def test_the_relays_last_word_is_waited_for(last_word: str, error: Exception, tmp_path: Path) -> None:
    """It closes its sockets first; on a busy machine QEMU's event came more than 0.1 s before its word."""

    async def run() -> None:
        body = f"import sys, time\n{LISTENS}\ntime.sleep(0.6)\n{last_word}"
        relay = await RelayProcess.start([sys.executable, "-c", body], lambda _: None)
        watch = Watch(time.monotonic(), 0.3, None, True)
        watch.status, watch.error = "failed", "Channel error: Input/output error"
        source = SimpleNamespace(path="s.qmp", process=None)
        ends: Any = SimpleNamespace(relay=relay, source=source, warnings=[])
        options = MigrateOptions(str(tmp_path / "s.qmp"), "unix:/nobody")
        pilot: Any = SimpleNamespace(why_relay_failed=RelayProcess.failure)
        found = await _LiveMigration(options, ends, watch, pilot)._why_source_failed()
        assert (type(found), str(found)) == (type(error), str(error))
        await relay.close()

    asyncio.run(run())
