"""A trace of a real Linux guest with Redis and its clients, made by one call."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pagethrift.lab.guest.machine import GuestSpec
from pagethrift.lab.load.spec import LoadSpec, Protocol
from pagethrift.lab.recording import record
from pagethrift.lab.run import Event
from pagethrift.lab.scenario import Scenario
from pagethrift.model.facts import PageClass
from pagethrift.trace.read import read_trace

SMALL = Scenario(
    name="small-redis",
    description="Redis in a small guest",
    guest=GuestSpec(memory_bytes=256 << 20, memcached_bytes=16 << 20, activity="redis"),
    load=LoadSpec(protocol=Protocol.REDIS, keys=4_000, rate_per_s=1500.0),
    warm_up_s=1.0,
)


def test_a_scenario_is_recorded(tmp_path: Path) -> None:
    seen: list[Event] = []
    out = tmp_path / "trace.parquet"
    summary = record(SMALL, out, 3.0, 0.2, seen.append)
    assert summary["failed_requests"] == 0
    assert summary["dirty_rate_bytes_per_s"] >= SMALL.min_dirty_rate_bps
    assert summary["sweeps"] > 3
    header = read_trace(out).header
    assert header.workload.startswith("small-redis: Redis in a small guest; ")
    written = sum(sweep.rows for sweep in header.sweeps[1:])
    assert written > 1000
    classes = read_trace(out).page_class
    assert classes is not None
    assert np.mean(classes == PageClass.FREE) > 0.4
    assert np.mean(classes == PageClass.ANONYMOUS) > 0.01
    assert [event.stage for event in seen][:4] == ["boot", "fill", "warm up", "dirty rate"]
