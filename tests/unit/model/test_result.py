"""The record of a migration survives a round trip and refuses what it cannot read."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from pagethrift.errors import UsageError
from pagethrift.model.result import (
    RESULT_SCHEMA,
    RESULT_VERSION,
    ChangeRecord,
    HostFacts,
    MigrationResult,
    Mode,
    Outcome,
    PageCounters,
    RoundRecord,
    flat_name,
)

RESULT = MigrationResult(
    mode=Mode.RELAY,
    strategy="pagethrift",
    outcome=Outcome.COMPLETED,
    simulated=False,
    began_unix_s=1.5e9,
    ended_unix_s=1.5e9 + 20,
    downtime_limit_s=0.3,
    total_time_s=20.0,
    downtime_s=0.1,
    first_round_bytes=10,
    retransferred_bytes=20,
    transferred_bytes=31,
    relay_peak_rss_bytes=1 << 20,
    parameters={"margin": 0.85},
    features={"auto-converge": True},
    converged=True,
    changes=(ChangeRecord(2.5, 0.5), ChangeRecord(3.0, None, 0)),
    warnings=("one", "two"),
    pages=PageCounters(full=1, delta=2, zero=3, skipped=4),
    rounds=(
        RoundRecord(0, 0.0, 100, 10, PageCounters(1, 0, 3, 0), 0),
        RoundRecord(1, 2.5, 7, 20, PageCounters(0, 2, 0, 4), 1),
    ),
    source_qemu="10.0.2",
    host=HostFacts(system="Linux", cpus=2),
)


MEASURES = (
    "total_time_s",
    "downtime_s",
    "qemu_downtime_s",
    "blackout_s",
    "first_round_bytes",
    "retransferred_bytes",
    "transferred_bytes",
    "relay_cpu_s",
    "source_cpu_s",
    "relay_peak_rss_bytes",
    "one_pass_bound_s",
    "ratio",
)


def changed(**changes: Any) -> str:
    data = json.loads(RESULT.to_json())
    data.update(changes)
    return json.dumps({key: value for key, value in data.items() if value is not ...})


def test_round_trip() -> None:
    assert MigrationResult.from_json(RESULT.to_json()) == RESULT


def test_schema_and_version_come_first() -> None:
    assert list(json.loads(RESULT.to_json()))[:2] == ["schema", "version"]


def test_measures_have_their_agreed_names() -> None:
    data = json.loads(RESULT.to_json())
    assert set(MEASURES) <= set(data)
    assert data["blackout_s"] is None


def test_unknown_keys_are_ignored() -> None:
    assert MigrationResult.from_json(changed(novelty=1, pages={"full": 5, "odd": 6})).pages.full == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "expected schema"),
        ("{}", "expected schema"),
        (changed(schema="pagethrift.trace"), "expected schema 'pagethrift.migration-result'"),
        (changed(version=RESULT_VERSION + 1), "reads version 1; read it with the pagethrift that wrote it"),
        (changed(version=...), "version None"),
        (changed(mode="sideways"), "'sideways' is not a valid Mode"),
        (changed(outcome=...), "Outcome"),
        (changed(total_time_s=...), "total_time_s"),
        (changed(rounds=[{"round": 0}]), "RoundRecord"),
        (changed(rounds=7), "int"),
        (changed(pages=None), "not a migration result"),
    ],
)
def test_refuses_what_it_cannot_read(text: str, message: str) -> None:
    with pytest.raises(UsageError, match="result") as caught:
        MigrationResult.from_json(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_page_counters_of_a_round_have_keys_of_their_own() -> None:
    """They stand flat among the round's fields: a counter "held" or "dirty" would overwrite one of those."""
    flat = {flat_name(f.name) for f in fields(PageCounters)}
    assert len(flat) == len(fields(PageCounters))
    assert flat.isdisjoint(f.name for f in fields(RoundRecord))


def test_counters_add_up() -> None:
    """Every counter, those to come included."""
    numbers = range(1, 1 + len(fields(PageCounters)))
    one, two = PageCounters(*numbers), PageCounters(*(100 * n for n in numbers))
    assert [count for _, count in (one + two).named()] == [101 * n for n in numbers]
    assert (one + two - one, one.total) == (two, sum(numbers))


def test_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "result-format.md").read_text()
    assert RESULT_SCHEMA in page
    for kind in (MigrationResult, RoundRecord, PageCounters, HostFacts, ChangeRecord):
        assert [f.name for f in fields(kind) if f"`{f.name}`" not in page] == []
