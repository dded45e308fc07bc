"""Sync points: which mark a destination knows, the probe, and where syncs stand in main."""

from __future__ import annotations

import pytest

from pagethrift.engine.counters import Counters
from pagethrift.engine.lanes import Lanes
from pagethrift.engine.output import Output
from pagethrift.engine.packing import Packing
from pagethrift.engine.sync_point import FLUSH, PROBE, SYNC_ROOM, SyncPoints, expected_mode
from pagethrift.errors import StreamError
from pagethrift.model.channels import ChannelSettings, SyncMode
from pagethrift.model.pages import PAGE_BYTES, BlockTable
from tests.unit.stream.pieces import EOS, footer, part

ROUND, SECTION = SyncMode.ROUND, SyncMode.SECTION


@pytest.mark.parametrize(
    ("machine", "mode"),
    [
        ("pc-q35-7.2", SECTION),
        ("pc-i440fx-2.11", SECTION),
        ("pc-i440fx-8.0", SECTION),
        ("pc-i440fx-8.1", ROUND),
        ("pc-q35-9.0", ROUND),
        ("pc-q35-10.0", ROUND),
        ("pc-q35-11.1", ROUND),
        ("virt-9.1", ROUND),
        ("virt-6.2", SECTION),
        ("xenfv", None),
        ("pc-q35-rhel9.4.0", None),
        ("pc-i440fx-jammy", None),
        ("pc-q35-noble-v2", None),
        ("microvm", None),
        ("synthetic", None),
        ("", None),
        ("-8.1", None),
        ("pc-8", None),
        ("pc-q35-8.1.2", None),
        ("pc-q35-8.1x", None),
        ("pc-q35-800.1", None),
        ("pc-q35-\u0668.\u0661", None),
        ("pc-i440fx-8.1\n", None),
        ("8.1", None),
    ],
)
def test_a_version_in_the_machine_type_tells_the_mode_and_nothing_else_does(
    machine: str, mode: SyncMode | None
) -> None:
    assert expected_mode(machine) is mode


class Bench:
    """Sync points with a packing and an output."""

    def __init__(self, mode: SyncMode | None) -> None:
        settings, table = ChannelSettings(channels=2), BlockTable.of([(b"pc.ram", 8 * PAGE_BYTES)])
        self.lanes = Lanes(settings, 8, 256)
        self.packing = Packing(settings, table, self.lanes, Counters())
        self.out, self.points = Output(), SyncPoints()
        self.points.ram_begins(2)
        if mode is not None:
            self.points.probed(mode)

    def written(self) -> list[tuple[int, bytes]]:
        """What is in main, by the SYNC that it waits for."""
        return [(number, b"".join(pieces)) for number, pieces in self.out.parts()]


def test_the_probe_is_a_ping_of_our_own_and_goes_out_once() -> None:
    bench = Bench(None)
    bench.points.probe(bench.out, True, 0)
    assert bench.points.probing
    assert PROBE == b"\x08\x00\x02\x00\x04pthr"
    assert bench.written() == [(0, PROBE)]
    bench.points.probed(SECTION)
    assert not bench.points.probing
    bench.points.probe(bench.out, True, 0)
    assert bench.written() == [(0, PROBE)]
    assert not bench.packing.jobs, "no SYNC before the answer"


def test_no_probe_before_ram() -> None:
    points, out = SyncPoints(), Output()
    points.probe(out, False, 0)
    assert (out.total_bytes, points.probing) == (0, False)


def test_without_a_return_path_nobody_could_answer() -> None:
    bench = Bench(None)
    with pytest.raises(StreamError, match=r"return-path.*--compress off") as caught:
        bench.points.probe(bench.out, False, 99)
    assert caught.value.offset == 99
    assert bench.out.total_bytes == 0


@pytest.mark.parametrize("last", [False, True])
def test_before_the_answer_nothing_is_synced(last: bool) -> None:
    bench = Bench(None)
    bench.points.end_body(bench.out, bench.packing, last, False)
    assert bench.written() == [(0, b"")]
    assert not bench.packing.jobs


def test_every_section_ends_with_a_sync_where_its_end_is_the_mark() -> None:
    bench = Bench(SECTION)
    for number in (1, 2):
        bench.points.end_body(bench.out, bench.packing, number == 2, False)
        bench.out.append(EOS)
    assert bench.written() == [(0, b""), (1, EOS), (2, EOS)]


def test_a_round_is_synced_at_its_end_and_where_a_page_wants_the_other_lane() -> None:
    bench = Bench(ROUND)
    bench.points.end_body(bench.out, bench.packing, False, False)
    assert bench.written() == [(0, b"")]
    bench.lanes.bound_pages = 1
    bench.points.end_body(bench.out, bench.packing, False, False)
    assert bench.written() == [(0, b""), (1, FLUSH)]
    assert bench.lanes.bound_pages == 0
    bench.points.end_body(bench.out, bench.packing, True, True)
    assert bench.written() == [(0, b""), (1, FLUSH), (2, FLUSH)]


def test_an_end_mark_that_was_set_aside_is_synced_when_it_goes_out() -> None:
    bench = Bench(SECTION)
    bench.points.end_body(bench.out, bench.packing, False, True)
    assert bench.packing.syncs == 0
    bench.points.before_set_aside(bench.out, bench.packing, False)
    assert bench.packing.syncs == 1
    bench.points.before_set_aside(bench.out, bench.packing, False)
    assert bench.packing.syncs == 1, "owed once"
    bench.points.before_set_aside(bench.out, bench.packing, True)
    assert bench.packing.syncs == 2, "an end of ours is a mark as well"
    other = Bench(ROUND)
    other.points.before_set_aside(other.out, other.packing, True)
    assert other.packing.syncs == 0


def test_a_sync_among_records_cuts_the_section_in_two_where_its_end_is_the_mark() -> None:
    bench = Bench(SECTION)
    bench.points.sync_within(bench.out, bench.packing, 0)
    whole = part()
    assert bench.written() == [(0, b""), (1, EOS + footer() + whole[:5])]
    assert bench.out.total_bytes <= SYNC_ROOM
    other = Bench(ROUND)
    other.points.sync_within(other.out, other.packing, 0)
    assert other.written() == [(0, b""), (1, FLUSH)]


def test_rams_last_section_cannot_be_cut_in_two() -> None:
    bench = Bench(SECTION)
    bench.points.in_last = True
    with pytest.raises(StreamError, match="each page once in the last section of RAM"):
        bench.points.sync_within(bench.out, bench.packing, 7)
    other = Bench(ROUND)
    other.points.in_last = True
    other.points.sync_within(other.out, other.packing, 7)
    assert other.packing.syncs == 1
