"""One run as a report reads it: what is kept of untrusted JSON, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from pagethrift.errors import UsageError
from pagethrift.model.result import HostFacts, Outcome
from pagethrift.model.run_result import DiskCheck, LinkChange, LinkRecord, RamEquality
from pagethrift.report.runs import (
    LARGEST,
    NO_CLIENT,
    SIMULATED,
    check_types,
    from_migration,
    from_run_result,
    number,
)
from tests.unit.report.samples import client, memcaslap, migration, result, round_record, run

DISK = DiskCheck(True, 5, 0, 9, 4096)
LINK = LinkRecord(1000, (LinkChange(1.0, None),), 0.0, "", "none", "")


@pytest.mark.parametrize("value", [0, 1.5, LARGEST])
def test_numbers(value: float) -> None:
    assert number(value, "x") == value


@pytest.mark.parametrize("value", [-0.1, LARGEST * 2, float("nan"), float("inf"), "1", None, True])
def test_no_numbers(value: object) -> None:
    with pytest.raises(UsageError, match=r"^here must be a number from 0 to 1e\+18, not "):
        number(value, "here")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"total_time_s": "1"}, "migration.total_time_s"),
        ({"transferred_bytes": True}, "migration.transferred_bytes"),
        ({"transferred_bytes": -1}, "migration.transferred_bytes"),
        ({"downtime_s": True}, "migration.downtime_s"),
        ({"converged": 1}, "migration.converged"),
        ({"strategy": None}, "migration.strategy"),
        ({"parameters": []}, "migration.parameters"),
        ({"rounds": (replace(round_record(0, 1), held_pages=-1),)}, "migration.rounds.held_pages"),
        ({"rounds": (replace(round_record(0, 1), pages=cast(Any, None)),)}, "migration.rounds.pages"),
        ({"host": HostFacts(cpus=cast(Any, "4"))}, "migration.host.cpus"),
    ],
)
def test_fields_of_another_type_are_named(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(UsageError, match=rf"^{where} must be "):
        check_types(migration(**changes), "migration")


def test_what_may_be_missing_may_be_none_and_whole_numbers_are_numbers() -> None:
    check_types(migration(downtime_s=None, total_time_s=10, source_cpu_s=0), "migration")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"ram": RamEquality(-1, 0)}, "ram.compared_bytes"),
        ({"disk": replace(DISK, files_wrong=cast(Any, "none"))}, "disk.files_wrong"),
        ({"link": replace(LINK, delay_s=-1.0)}, "link.delay_s"),
        ({"link": replace(LINK, changes=(LinkChange(-1.0, 5),))}, "link.changes.after_s"),
        ({"repetition": -1}, "repetition"),
        ({"lost_requests": None}, "lost_requests"),
        ({"cpu_s": {"vcpu": -1.0}}, "cpu_s"),
        ({"client": [1]}, "client must be an object"),
        ({"client": client(phases=[1])}, "client.phases must be an object"),
        ({"client": client(phases=[{"name": "before"}])}, "client.phases.latency_ms must be an object"),
        ({"client": client(began_s=None)}, "client.began_s"),
        ({"client": client(began_unix_s=-1)}, "client.began_unix_s"),
        ({"client": client(spec=[1])}, "client.spec must be an object"),
    ],
)
def test_every_part_of_a_run_is_checked(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(UsageError, match=rf"^{where}"):
        from_run_result(result(**changes))


def test_everything_optional_is_one_table_of_numbers() -> None:
    seen = run(cpu_s={"vcpu": 2.5, "note": "x"}, dirty_rate_bytes_per_s=7, disk=DISK, link=LINK)
    assert seen.further == {
        "cpu_s.vcpu": 2.5, "dirty_rate_bytes_per_s": 7, "disk.fsck_clean": 1, "disk.files_checked": 5,
        "disk.files_wrong": 0, "disk.files_written": 9, "disk.written_during_bytes": 4096,
    }  # fmt: skip
    assert seen.link["bandwidth_bps"] == 1000
    assert run().further == run().link == {}


def test_phases_are_by_name_and_in_seconds() -> None:
    seen = run().client
    assert seen is not None
    assert list(seen.phases) == ["before", "during", "after"]
    during = seen.phases["during"]
    assert (during.began_s, during.ended_s, during.operations_per_s, during.p99_s) == (55, 65, 100, 0.008)
    assert run(client={}).client is None


def test_a_series_has_gaps_in_latency_and_none_in_answers() -> None:
    series = client()["series"] | {"operations": [None, *[1.0] * 19]}
    seen = run(client=client(series=series)).client
    assert seen is not None
    assert seen.series is not None
    assert seen.series.operations[:2] == (0.0, 1.0)
    assert (seen.series.p50_ms[0], seen.series.p99_ms[-1], seen.series.max_ms[0]) == (1.0, None, 3.0)
    assert (seen.series.began_s, seen.series.interval_s, seen.series.middle) == (50.0, 1.0, "p50")


def test_memcaslap_knows_means_and_no_high_percentile() -> None:
    seen = run(client=client(memcaslap=memcaslap())).client
    assert seen is not None
    found = seen.memcaslap
    assert found is not None
    assert (found.middle, found.p50_ms[0], found.p99_ms[0], found.max_ms[0]) == ("mean", 4.5, None, 30.5)


def test_a_migration_alone_is_a_run_named_by_what_moved_it() -> None:
    features = {"xbzrle-cache-size": 4096, "auto-converge": True, "max-bandwidth": 0}
    for made, scenario, mode in (
        (migration("pagethrift"), NO_CLIENT, "pagethrift"),
        (migration(), NO_CLIENT, "plain"),
        (migration(features=features), NO_CLIENT, "plain + xbzrle-cache-size + auto-converge"),
        (migration("thesis", simulated=True), SIMULATED, "thesis"),
    ):
        found = from_migration(made, 3, "folder", "file")
        assert (found.scenario, found.mode, found.repetition) == (scenario, mode, 3)
        assert (found.folder, found.file, found.client, found.lost_requests) == ("folder", "file", None, None)


def test_only_a_completed_migration_is_measured() -> None:
    assert [run(migration=migration(outcome=outcome)).completed for outcome in Outcome] == [
        True, False, False,
    ]  # fmt: skip


def test_names_stay_on_one_line() -> None:
    seen = run("a\nb", scenario="c\rd")
    assert (seen.mode, seen.scenario) == ("a\N{REPLACEMENT CHARACTER}b", "c\N{REPLACEMENT CHARACTER}d")
