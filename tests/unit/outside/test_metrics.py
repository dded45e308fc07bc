"""What a scrape says: the last status, under Prometheus' own names."""

from __future__ import annotations

import re

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pagethrift.model.result import PageCounters
from pagethrift.model.running import RunKind, Running
from pagethrift.outside.metrics import registry

RUNNING = Running(
    "one",
    RunKind.MIGRATE,
    pid=7,
    guest='vm"1"\n',
    source="/run/vm1.qmp",
    destination="host2:4444",
    state="active",
    round=3,
    in_bytes=1000,
    out_bytes=400,
    unsent_bytes=50,
    link_bps=200.0,
    ram_bytes=1 << 30,
    remaining_bytes=9,
    pages=PageCounters(full=1, delta=2, zero=3, skipped=4, compressed=5),
    page_bytes=PageCounters(full=4104, delta=9),
    held_pages=6,
    held_bytes=60,
    first_round_bytes=300,
    retransferred_bytes=90,
    predicted_downtime_s=0.25,
    downtime_limit_s=0.3,
    cpu_s=1.5,
    peak_rss_bytes=1 << 20,
    refused=2,
    began_unix_s=1e9,
)


def samples(*running: Running) -> dict[tuple[str, ...], float]:
    """Return every sample of a scrape: name and label values (the id left out) -> value."""
    text = generate_latest(registry(lambda: running)).decode()
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(
                value for name, value in sample.labels.items() if name not in ("migration", "version")
            )
            found[(sample.name, *labels)] = sample.value
    return found


def test_every_number_comes_from_the_last_status() -> None:
    assert samples(RUNNING) == {
        ("pagethrift_migration_info", "host2:4444", 'vm"1" ', "migrate", "/run/vm1.qmp"): 1,
        ("pagethrift_state", "active"): 1,
        ("pagethrift_pages_total", "full"): 1,
        ("pagethrift_pages_total", "delta"): 2,
        ("pagethrift_pages_total", "zero"): 3,
        ("pagethrift_pages_total", "skipped"): 4,
        ("pagethrift_pages_total", "compressed"): 5,
        ("pagethrift_page_bytes_total", "full"): 4104,
        ("pagethrift_page_bytes_total", "delta"): 9,
        ("pagethrift_page_bytes_total", "zero"): 0,
        ("pagethrift_page_bytes_total", "skipped"): 0,
        ("pagethrift_page_bytes_total", "compressed"): 0,
        ("pagethrift_ram_bytes_total", "first"): 300,
        ("pagethrift_ram_bytes_total", "again"): 90,
        ("pagethrift_rounds_total",): 3,
        ("pagethrift_received_bytes_total",): 1000,
        ("pagethrift_sent_bytes_total",): 400,
        ("pagethrift_refused_connections_total",): 2,
        ("pagethrift_errors_total",): 0,
        ("pagethrift_relay_cpu_seconds_total",): 1.5,
        ("pagethrift_start_time_seconds",): 1e9,
        ("pagethrift_guest_ram_bytes",): 1 << 30,
        ("pagethrift_remaining_bytes",): 9,
        ("pagethrift_unsent_bytes",): 50,
        ("pagethrift_queue_seconds",): 0.25,
        ("pagethrift_link_bytes_per_second",): 200,
        ("pagethrift_held_pages",): 6,
        ("pagethrift_held_bytes",): 60,
        ("pagethrift_predicted_downtime_seconds",): 0.25,
        ("pagethrift_downtime_limit_seconds",): 0.3,
        ("pagethrift_relay_peak_memory_bytes",): 1 << 20,
        ("pagethrift_warning",): 0,
    }


def test_what_is_not_known_has_no_sample() -> None:
    names = {name for name, *_ in samples(Running("one"))}
    assert names.isdisjoint(
        {
            "pagethrift_predicted_downtime_seconds",
            "pagethrift_link_bytes_per_second",
            "pagethrift_queue_seconds",
            "pagethrift_remaining_bytes",
            "pagethrift_bandwidth_cap_bytes_per_second",
        }
    )


def test_what_an_operator_looks_for() -> None:
    failed = samples(Running("one", state="failed", failed=True, warning="odd", bandwidth_cap_bps=5.0))
    assert failed["pagethrift_errors_total",] == 1
    assert failed["pagethrift_warning",] == 1
    assert failed["pagethrift_state", "failed"] == 1
    assert failed["pagethrift_bandwidth_cap_bytes_per_second",] == 5


def test_several_migrations_are_told_apart_by_their_id() -> None:
    text = generate_latest(registry(lambda: [Running("a", in_bytes=1), Running("b", in_bytes=2)])).decode()
    assert 'pagethrift_received_bytes_total{migration="a"} 1.0' in text
    assert 'pagethrift_received_bytes_total{migration="b"} 2.0' in text
    assert text.count("# TYPE pagethrift_received_bytes_total counter") == 1


def test_names_are_by_prometheus_conventions() -> None:
    text = generate_latest(registry(lambda: [RUNNING])).decode()
    types = dict(re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE))
    assert types
    for name, kind in types.items():
        assert re.fullmatch(r"pagethrift_[a-z_]+", name)
        assert name.endswith("_total") == (kind == "counter"), name
        assert not re.search(r"_(ms|kb|mb|bits)\b", name)
    assert "python_info" not in types, "nothing of the process that Prometheus did not ask for"


def test_names_that_no_encoding_holds_do_not_break_a_scrape() -> None:
    assert samples(Running("one", source="/tmp/\udce9", guest="\ud800"))
