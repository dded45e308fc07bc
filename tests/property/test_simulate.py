"""Simulated migrations of made-up guests: what must hold whatever the guest, the link and the strategy."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pagethrift.model.channels import Compress
from pagethrift.model.result import Outcome
from pagethrift.simulator.simulate_options import SimulateOptions
from pagethrift.simulator.virtual_link import LinkSpec
from pagethrift.simulator.virtual_migration import simulate
from pagethrift.strategies.table import TABLE, strategy
from pagethrift.stream.packets import HEADER_BYTES
from pagethrift.trace.read import Trace
from pagethrift.trace.synthetic import Load, Synthetic
from tests.streams import chaos, examples
from tests.traces import made, run

PAGES = 512
MOST_PACKETS = PAGES
"""of a first pass: each section ends the packets that are open"""
QUICK = settings(max_examples=examples(50), deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def traces(draw: Any) -> Trace:
    """A small guest."""
    load = draw(st.sampled_from(list(Load)))
    used = draw(st.integers(1, PAGES))
    wanted = {
        "pages": PAGES,
        "used_pages": used,
        "hot_pages": draw(st.integers(1, used)),
        "writes_per_s": draw(st.sampled_from([1.0, 100.0, 3000.0])),
        "seconds": draw(st.sampled_from([0.3, 2.0])),
        "seed": draw(st.integers(0, 1000)),
    }
    assert Synthetic(load, **wanted)
    with tempfile.TemporaryDirectory() as folder:
        synthetic_seed = wanted.pop("seed")
        return made(Path(folder), load, synthetic_seed, **wanted)


@QUICK
@given(
    trace=traces(),
    name=st.sampled_from([*TABLE, "chaos"]),
    bandwidth=st.sampled_from([1e5, 2e6, 1e9]),
    delay=st.sampled_from([0.0, 0.05]),
    chunk=st.sampled_from([0, 64, 1 << 18]),
    as_live=st.booleans(),
    seed=st.integers(0, 99),
    compress=st.sampled_from(list(Compress)),
    channels=st.integers(1, 4),
    window_log=st.sampled_from([20, 27]),
    compressor=st.sampled_from([1e6, 190e6]),
)
def test_books_balance_and_nothing_ends_stale(
    trace: Trace, name: str, bandwidth: float, delay: float, chunk: int, as_live: bool, seed: int,
    compress: Compress, channels: int, window_log: int, compressor: float,
) -> None:  # fmt: skip
    row = chaos(seed) if name == "chaos" else strategy(name)
    options = SimulateOptions(
        LinkSpec(bandwidth, delay), force_after_s=6.0, chunk_pages=chunk, as_live=as_live,
        compress=compress, channels=channels, window_log=window_log, compressor_bps=compressor,
    )  # fmt: skip
    result = simulate(trace, row, options)
    assert result.outcome is Outcome.COMPLETED
    assert result.downtime_s is not None
    assert 0 < result.downtime_s <= result.total_time_s
    assert result.total_time_s >= result.transferred_bytes / bandwidth * (1 - 1e-9)
    sent = result.first_round_bytes + result.retransferred_bytes
    assert result.transferred_bytes > sent == sum(r.sent_bytes for r in result.rounds)
    for record in result.rounds:
        assert min(record.sent_bytes, record.dirty_pages, record.held_pages, record.pages.skipped) >= 0
    assert result.rounds[0].dirty_pages == PAGES
    assert result.rounds[-1].held_pages == 0
    if not row.simulated.skips_seen:
        assert result.stale_pages == 0
        pages = result.pages
        assert pages.full + pages.delta + pages.zero + pages.compressed >= PAGES
    assert (result.channels > 0) == (result.window_bytes > 0) == (row.compresses and compress != "off")


@QUICK
@given(trace=traces(), bandwidth=st.sampled_from([4e5, 3e6, 5e7]), factor=st.sampled_from([1.3, 2.0, 10.0]))
def test_more_bandwidth_is_never_slower(trace: Trace, bandwidth: float, factor: float) -> None:
    slow = run(trace, "kvm-default", bandwidth, force_after_s=30.0)
    fast = run(trace, "kvm-default", bandwidth * factor, force_after_s=30.0)
    assert fast.total_time_s <= slow.total_time_s * 1.1 + 0.2


@QUICK
@given(trace=traces(), bandwidth=st.sampled_from([4e5, 3e6, 5e7]))
def test_thrift_never_makes_the_first_pass_longer(trace: Trace, bandwidth: float) -> None:
    plain = run(trace, "kvm-default", bandwidth, stop="cloud-hypervisor", force_after_s=2.0)
    for compress in Compress:
        thrifty = run(
            trace, "pagethrift", bandwidth, parameters={"hold_share": 0}, force_after_s=2.0, compress=compress
        )
        assert thrifty.first_round_bytes <= plain.first_round_bytes + MOST_PACKETS * HEADER_BYTES
