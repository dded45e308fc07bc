"""The simulator's relay against the real thinner: the same pages, the same methods, the same bytes."""

from __future__ import annotations

import random

import numpy as np
import pytest

from pagethrift.engine.counters import Count
from pagethrift.engine.decisions import Moment
from pagethrift.engine.output import Output, PauseReason
from pagethrift.engine.thinner import Thinner
from pagethrift.model.channels import ChannelSettings, SyncMode
from pagethrift.model.methods import Method
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.simulator.virtual_guest import Snapshot, VirtualGuest
from pagethrift.simulator.virtual_relay import VirtualRelay
from pagethrift.strategies.table import strategy
from pagethrift.stream.encoding.packet import PacketEncoder
from pagethrift.stream.synthetic import StreamBuilder
from pagethrift.trace.format import TraceHeader
from pagethrift.trace.measure import PageMeter
from pagethrift.trace.read import Trace, Writes
from tests.unit.trace.test_measure import batch

PAGES = 40
ROUNDS = 9
SECRET = bytes(range(32))
Round = dict[int, bytes]


def content(rng: random.Random, before: bytes | None) -> bytes:
    """Zero, random, sparse, slightly changed, equal."""
    kind = rng.randrange(6)
    if kind == 0:
        return bytes(PAGE_BYTES)
    if kind == 1 or before is None:
        return rng.randbytes(PAGE_BYTES)
    if kind == 2:
        return before
    data = bytearray(before if kind > 3 else bytes(PAGE_BYTES))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(PAGE_BYTES - 40)
        data[at : at + 40] = rng.randbytes(40)
    return bytes(data)


def rounds(seed: int) -> list[Round]:
    rng = random.Random(seed)
    held: dict[int, bytes] = {}
    found: list[Round] = []
    for number in range(ROUNDS):
        pages = range(PAGES) if number == 0 else sorted({*range(6), *rng.sample(range(PAGES), 12)})
        now = {}
        for page in pages:
            held[page] = now[page] = content(rng, held.get(page))
        found.append(now)
    return found


def through_thinner(name: str, work: list[Round], channels: ChannelSettings | None = None) -> Thinner:
    builder = StreamBuilder([("pc.ram", PAGES)], return_path=channels is not None)
    ends = []
    for number, pages in enumerate(work):
        builder.begin_body(last=number == len(work) - 1)
        for page, data in pages.items():
            builder.page(0, page, data if any(data) else b"")
        builder.end_body()
        ends.append(sum(len(part) for part in builder.parts))
    stream = memoryview(builder.finish())
    thinner, out = Thinner(strategy(name), SECRET, channels=channels), Output()
    encoders = [PacketEncoder(number, channels) for number in range(channels.channels)] if channels else []
    thinner.link_bps = 12.5e6
    position = 0
    for number, end in enumerate([*ends, len(stream)]):
        thinner.begin_round(min(number, len(work) - 1))
        if number == len(work) - 1:
            thinner.go()
        while True:
            progress = thinner.run(out, float(number))
            out.clear()
            for job in thinner.jobs():
                if job.packet:
                    thinner.taken(job.packet, sum(map(len, encoders[job.channel].pages(job.packet))))
            if progress is PauseReason.PROBE:
                thinner.probed(SyncMode.ROUND)
                continue
            if progress is PauseReason.ENDED or position == end:
                break
            room = thinner.room()
            count = min(len(room), end - position)
            room[:count] = stream[position : position + count]
            position += count
            thinner.received(count)
    return thinner


def through_simulator(name: str, work: list[Round], channels: ChannelSettings | None = None) -> VirtualRelay:
    nothing = np.zeros(0, np.uint16)
    trace = Trace(
        TraceHeader(PAGES * PAGE_BYTES, (("pc.ram", PAGES * PAGE_BYTES),), 1.0), "made",
        np.zeros(PAGES, np.int32), np.zeros(PAGES, np.uint16), None, None,
        Writes(np.zeros(0), np.zeros(0, np.int32), np.zeros(0, np.int32), nothing, nothing, nothing), 1.0,
    )  # fmt: skip
    guest = VirtualGuest(trace)
    relay = VirtualRelay(
        strategy(name), guest, np.zeros(PAGES, np.uint8), as_defined=False, channels=channels
    )
    meter = PageMeter(PAGES, SECRET, exact=True)
    for number, pages in enumerate(work):
        rows = meter.measure(batch(pages))
        last = number == len(work) - 1
        now = Moment(float(number), number, 12.5e6, 0.3, last)
        relay.thin(
            Snapshot(
                rows.page, rows.content.astype(np.int64), rows.sparse_bytes, rows.changed.astype(np.uint32),
                rows.delta_bytes.astype(np.int32), np.zeros(len(rows)),
            ),
            now,
        )  # fmt: skip
        relay.release(now, everything=last)
        if relay.channels:
            relay.channels.end_section(last)
    return relay


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "name", ["kvm-default", "thesis", "pagethrift", "hu", "lin", "tpo", "xen", "cloudnet"]
)
def test_methods_and_bytes_are_the_thinners(name: str, seed: int) -> None:
    work = rounds(seed)
    real, simulated = through_thinner(name, work), through_simulator(name, work)
    for method in Method:
        assert simulated.counters.by_method[method] == real.counters.by_method[method], method.name
    for count in (Count.PAGES_IN, Count.RETRANSFERRED_PAGES):
        assert simulated.counters.of(count) == real.counters.of(count)
    names = len("pc.ram") + 1 + ROUNDS * 12
    for count in (Count.FIRST_ROUND_BYTES, Count.RETRANSFERRED_BYTES):
        assert simulated.counters.of(count) == pytest.approx(real.counters.of(count), rel=0.002, abs=names)
    assert len(simulated.held) == len(real.held) == 0


@pytest.mark.parametrize("seed", range(6))
def test_with_channels_the_methods_are_the_thinners(seed: int) -> None:
    """A compressor tells other sizes than a trace; what a page may use is the same."""
    work, settings = rounds(seed), ChannelSettings(2)
    real = through_thinner("pagethrift", work, settings)
    simulated = through_simulator("pagethrift", work, settings)
    ours, theirs = simulated.counters.by_method, real.counters.by_method
    assert theirs[Method.CHANNEL] > 80
    for method in (Method.SKIP, Method.ZERO, Method.SPARSE, Method.FROM_ZERO):
        assert ours[method] == theirs[method], method.name
    assert abs(ours[Method.CHANNEL] - theirs[Method.CHANNEL]) <= 0.05 * theirs[Method.CHANNEL]
    assert ours.sum() == theirs.sum()
    sent = simulated.counters.channel_bytes
    assert sent == pytest.approx(real.counters.channel_bytes, rel=0.6)


def test_the_destination_ends_with_the_newest_contents() -> None:
    work = rounds(7)
    relay = through_simulator("pagethrift", work)
    meter = PageMeter(PAGES, SECRET, exact=False)
    newest: dict[int, int] = {}
    for pages in work:
        rows = meter.measure(batch(pages))
        newest.update(zip(rows.page.tolist(), rows.content.tolist(), strict=True))
    assert relay.content.tolist() == [newest[page] for page in range(PAGES)]
