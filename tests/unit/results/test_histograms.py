"""Histograms of a client come back character for character, or are left as they were."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hdrh.histogram import HdrHistogram

from pagethrift.errors import UsageError
from pagethrift.results.histograms import KEY, put_back, taken_out
from tests.archives import runs


def text(*values_us: int, highest_us: int = 3_600_000_000) -> str:
    histogram = HdrHistogram(1, highest_us, 3)
    for value_us in values_us:
        histogram.record_value(value_us)
    encoded: str = histogram.encode().decode("ascii")
    return encoded


def report(whole: Any, *phases: Any) -> dict[str, Any]:
    return {"gets": 1, KEY: whole, "phases": [{"name": "before", KEY: each} for each in phases]}


@pytest.mark.parametrize(
    "client",
    [
        report(text(5, 5, 900_000), text(5), text(5, 900_000)),
        report(text(1, 5, 7), text(5)),
        report(text(5)),
        report(text(), text()),
        {KEY: text(3), "gets": 2},
    ],
    ids=["sum of its phases", "more than its phases", "no phase", "empty", "no list of phases"],
)
def test_they_come_back(client: dict[str, Any]) -> None:
    without, packed = taken_out(client)
    assert packed is not None
    assert text(5) not in json.dumps(without)
    assert put_back(json.loads(json.dumps(without)), packed) == client


@pytest.mark.parametrize(
    "client",
    [
        report(text(5), text(5, 6)),
        report(text(5), text(5, highest_us=1_000_000)),
        report(text(5), None),
        report("nonsense", text(5)),
        report(text(5).replace("A", "B", 3), text(5)),
        {"phases": 5},
        [],
    ],
    ids=["phases hold more", "another range", "one missing", "no base64", "broken", "no phases", "no table"],
)
def test_what_would_not_come_back_is_left_alone(client: Any) -> None:
    assert taken_out(client) == (client, None)


def test_the_first_of_a_real_run_is_the_sum_of_the_others() -> None:
    client = runs("demo")["demo.pagethrift.00.json"].client
    _, packed = taken_out(client)
    assert packed is not None
    assert len(packed) < 0.9 * sum(len(each[KEY]) for each in (client, *client["phases"]))


@pytest.mark.parametrize("broken", [b"", b"\0", b"\0\0\0\5abc", b"\0\0\0\3abc", b"\0\0\0\0" * 3])
def test_broken_ones_are_refused(broken: bytes) -> None:
    without, _ = taken_out(report(text(5), text(5)))
    with pytest.raises(UsageError, match="broken histograms"):
        put_back(without, broken)
