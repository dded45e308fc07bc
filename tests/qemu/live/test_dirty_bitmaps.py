"""A dirty bitmap on a disk migrates too (docs/faults.md, 6): QEMU counts it as pending for ever."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from pagethrift.live.migrate import migrate
from pagethrift.live.preflight import pending_of_bitmaps
from pagethrift.live.qmp import QmpMonitor
from pagethrift.model.result import Outcome
from tests.qemu.live.pair import Pair, slow_link

DISK_BYTES = 1 << 30
GRANULARITY = 65536


def add_disk(pair: Pair) -> None:
    """The same node at both ends, and a bitmap at the source."""
    for machine in (pair.source, pair.destination):
        node: dict[str, Any] = {"driver": "null-co", "node-name": "d0", "size": DISK_BYTES}
        machine.qmp.execute("blockdev-add", **node)
    pair.source.qmp.execute("block-dirty-bitmap-add", node="d0", name="b0", granularity=GRANULARITY)
    for machine in (pair.source, pair.destination):
        machine.qmp.execute(
            "migrate-set-capabilities", capabilities=[{"capability": "dirty-bitmaps", "state": True}]
        )


def bitmaps(machine: Any) -> list[dict[str, Any]]:
    nodes = machine.qmp.execute("query-named-block-nodes", flat=True)
    return [bitmap for node in nodes for bitmap in node.get("dirty-bitmaps", ())]


def test_it_completes_with_the_bitmap(pair: Pair) -> None:
    add_disk(pair)

    async def run() -> Any:
        async with slow_link(pair) as options:
            return await asyncio.wait_for(migrate(options), 60)

    result = asyncio.run(run())
    assert result.outcome is Outcome.COMPLETED
    assert len(result.rounds) > 1, "QEMU began new rounds while it was held"
    assert pair.states()[1] == "running"
    assert [bitmap["name"] for bitmap in bitmaps(pair.destination)] == ["b0"]
    assert pair.parameter("downtime-limit") == 300
    json.loads(result.to_json())


def test_what_qemu_counts(pair: Pair, tmp_path: Path) -> None:
    add_disk(pair)

    async def run() -> int:
        monitor = await QmpMonitor.connect(f"{pair.folder}/a.qmp")
        try:
            return await pending_of_bitmaps(monitor)
        finally:
            await monitor.close()

    assert asyncio.run(run()) == DISK_BYTES // GRANULARITY
