"""The table of measures: where each comes from, its unit, which end is good."""

from __future__ import annotations

import pytest

from pagethrift.report.estimate import estimate
from pagethrift.report.measures import MEASURES, further, interval
from pagethrift.report.runs import Run
from tests.unit.report.samples import client, migration, result, run

BY_KEY = {measure.key: measure for measure in MEASURES}


def test_keys_and_names_are_unique() -> None:
    assert len(BY_KEY) == len(MEASURES) == len({measure.name for measure in MEASURES})


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("total_time_s", 10.5, "10.5 s"),
        ("downtime_s", 0.125, "125 ms"),
        ("first_round_bytes", 4000, "4 kB"),
        ("retransferred_bytes", 5000, "5 kB"),
        ("transferred_bytes", 6000, "6 kB"),
        ("relay_cpu_s", 2.0, "2.0 s"),
        ("relay_peak_rss_bytes", 3_000_000, "3 MB"),
        ("ratio", 1.234, "1.23"),
    ],
)
def test_what_the_migration_says(key: str, value: float, shown: str) -> None:
    measure = BY_KEY[key]
    assert measure.of(run(migration=migration("plain", **{key: value}))) == value
    assert measure.show(value) == shown


def test_each_phase_has_its_throughput_and_latency() -> None:
    phases = [
        phase | {"operations_per_s": 100.0 + i, "latency_ms": {"p99": 10.0 + i}}
        for i, phase in enumerate(client()["phases"])
    ]
    seen = run(client=client(phases=phases))
    for i, phase in enumerate(("before", "during", "after")):
        rate, latency = BY_KEY[f"operations_per_s_{phase}"], BY_KEY[f"p99_s_{phase}"]
        assert (rate.of(seen), rate.show(100.0 + i)) == (100.0 + i, f"{100 + i}/s")
        assert latency.of(seen) == pytest.approx(0.010 + i / 1000)
        assert latency.show(0.010) == "10 ms"
        assert (rate.more_is_better, latency.more_is_better) == (True, False)
        # the migration has not begun: a difference would be chance
        assert (rate.compared, latency.compared) == (phase != "before", phase != "before")
    without = run(client=client(phases=phases[:1]))
    assert BY_KEY["p99_s_before"].of(without) is not None
    assert BY_KEY["p99_s_during"].of(without) is None
    assert BY_KEY["operations_per_s_during"].of(run(client={})) is None


@pytest.mark.parametrize(
    ("seen", "cpu_s"),
    [
        (run("plain", migration=migration(source_cpu_s=3.0)), 3.0),
        (run("pagethrift", migration=migration("pagethrift", source_cpu_s=3.0, relay_cpu_s=2.0)), 5.0),
        (run("pagethrift", migration=migration("pagethrift", source_cpu_s=3.0, relay_cpu_s=None)), None),
        (run("pagethrift"), None),
    ],
    ids=["without a relay", "both", "relay not measured", "QEMU not measured"],
)
def test_cpu_of_the_source_host_is_all_or_nothing(seen: Run, cpu_s: float | None) -> None:
    assert BY_KEY["source_host_cpu_s"].of(seen) == cpu_s


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cpu_s.vcpu", "2.0 s"),
        ("peak_rss_bytes.source", "2 B"),
        ("dirty_rate_bytes_per_s", "2 B/s"),
        ("disk.written_during_bytes", "2 B"),
        ("disk.fsck_clean", "2"),
        ("disk.files_checked", "2"),
    ],
)
def test_an_optional_measures_unit_is_the_end_of_its_name(name: str, shown: str) -> None:
    measure = further(name)
    assert (measure.show(2.0), measure.compared) == (shown, False)


def test_an_optional_measure_is_taken_by_its_name() -> None:
    seen = run(cpu_s={"vcpu": 2.5, "main": 1.0})
    assert further("cpu_s.vcpu").of(seen) == 2.5
    assert further("cpu_s.relay").of(seen) is None
    assert result().cpu_s is None


def test_an_estimate_in_words() -> None:
    assert interval(None, str) == "-"
    assert interval(estimate([2.0]), str) == "2.0"
    assert interval(estimate([3.0, 1.0, 2.0]), str) == "2.0 (1.0 to 3.0)"
