"""The switchover is decided on what the relay says now, not on what it said a tenth of a second ago."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pagethrift.live.migrate_options import MigrateOptions
from pagethrift.live.pilot import Pilot
from pagethrift.live.qmp import MigrateInfo, QmpEvent
from pagethrift.live.watch import Watch
from pagethrift.model.facts import StopFacts
from pagethrift.model.relay_protocol import RelayState, RelayStatus
from pagethrift.strategies.stop.rules import DowntimePredicted

LINK_BPS = 10_000_000.0


class Relay:
    """Says on request what it has not sent yet."""

    failed = False

    def __init__(self, watch: Watch, unsent_bytes: int) -> None:
        self.went = False
        self._watch = watch
        self._unsent_bytes = unsent_bytes

    async def refresh(self) -> None:
        self._watch.on_relay(RelayStatus(RelayState.RAM, link_bps=LINK_BPS, unsent_bytes=self._unsent_bytes))

    def tell_go(self) -> None:
        self.went = True


class Asked:
    """The rule of the default strategy, and what it was asked."""

    def __init__(self) -> None:
        self.facts: list[StopFacts] = []
        self._rule = DowntimePredicted()

    def decide(self, facts: StopFacts) -> Any:
        self.facts.append(facts)
        return self._rule.decide(facts)


def decided(unsent_bytes: int, tmp_path: Path) -> tuple[bool, Asked]:
    """Let a pilot decide in round 1, when the relay's last word was "nothing unsent"."""

    async def run() -> tuple[bool, Asked]:
        now_s = time.monotonic()
        watch, rule = Watch(now_s - 1.0, 0.3, None, True), Asked()
        watch.on_event(QmpEvent("MIGRATION_PASS", {"pass": 2}, now_s))
        watch.on_info(
            MigrateInfo(status="active", total_bytes=4096000, dirty_sync_count=2, remaining_bytes=4096), now_s
        )
        watch.on_relay(RelayStatus(RelayState.RAM, link_bps=LINK_BPS))
        relay = Relay(watch, unsent_bytes)

        async def set_parameters(values: object) -> None:
            assert values

        settings = SimpleNamespace(set=set_parameters, parameters={})
        source = SimpleNamespace(version=(10, 0, 2))
        ends: Any = SimpleNamespace(settings=settings, source=source, relay=relay)
        options = MigrateOptions(source_qmp=str(tmp_path / "qmp"), destination="unix:/nowhere")
        pilot = Pilot(options, ends, watch, rule, lambda _: None)
        await pilot._decide(now_s)
        return relay.went, rule

    return asyncio.run(run())


def test_what_the_relay_has_swallowed_meanwhile_counts(tmp_path: Path) -> None:
    went, rule = decided(5_000_000, tmp_path)
    assert not went, "0.5 s of link wait in the relay, 0.3 s are allowed"
    assert [facts.unsent_bytes for facts in rule.facts] == [0, 5_000_000]


def test_goes_when_that_still_fits(tmp_path: Path) -> None:
    went, rule = decided(1_000_000, tmp_path)
    assert went
    assert len(rule.facts) == 2
