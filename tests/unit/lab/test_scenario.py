"""Scenario files: what is read, what is refused, and that those we ship are right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pagethrift.errors import UsageError
from pagethrift.lab.guest.machine import ACTIVITIES, GuestSpec, kernel_command_line
from pagethrift.lab.load.spec import LoadSpec, Protocol
from pagethrift.lab.scenario import Scenario, parse_mode, parse_scenario, read_scenario
from tests.archives import runs

MIB = 1 << 20
SCENARIOS = Path(__file__).parents[3] / "scenarios"
SHIPPED = sorted(SCENARIOS.glob("*.toml"))
COMPARED = {
    "steady-uniform", "hot-zipf", "counters", "refresh", "churn", "redis", "compressible", "idle",
    "random-writer", "page-flipper", "build", "thesis",
}  # fmt: skip


def test_huge_pages_are_another_setting_and_their_default_is_what_older_results_were_made_with() -> None:
    demo = read_scenario(SCENARIOS / "demo.toml")
    small = read_scenario(SCENARIOS / "demo-small-pages.toml")
    assert small.digest != demo.digest
    assert replace(small, name="demo", guest=demo.guest).digest == demo.digest
    assert runs("demo")["demo.plain.00.json"].settings_digest == demo.digest


def test_nothing_said_gives_the_defaults() -> None:
    assert parse_scenario({}, "empty") == Scenario("empty")


def test_guest_load_and_timing_are_read() -> None:
    data = {
        "guest": {
            "activity": "page-flipper",
            "activity_size": "12MiB",
            "activity_rate": "3MiB",
            "clear_free": True,
            "huge_pages": False,
        },
        "load": {"counters": 50, "increment_share": 0.5, "evicting": True},
        "memcaslap": {"window": "4k", "overwrite_share": 0.9},
        "timing": {"min_dirty_rate": "5MiB"},
    }
    scenario = parse_scenario(data, "x")
    assert scenario.guest == GuestSpec(
        activity="page-flipper",
        activity_bytes=12 * MIB,
        activity_bps=3 * MIB,
        clear_free=True,
        huge_pages=False,
    )
    assert scenario.load == LoadSpec(counters=50, increment_share=0.5, evicting=True)
    assert scenario.memcaslap is not None
    assert (scenario.memcaslap.window, scenario.memcaslap.overwrite_share) == ("4k", 0.9)
    assert scenario.min_dirty_rate_bps == 5 * MIB
    words = kernel_command_line(scenario.guest).split()
    assert "pt.activity=page-flipper,12,3" in words
    assert "pt.clear=1" in words


def test_zero_means_no_least_dirty_rate_and_no_pace() -> None:
    scenario = parse_scenario({"timing": {"min_dirty_rate": "0"}, "guest": {"activity_rate": "0"}}, "x")
    assert scenario.min_dirty_rate_bps == scenario.guest.activity_bps == 0


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"guest": {"activity": "sleep"}}, r"guest.activity is 'sleep'; choose one of idle, random-writer"),
        ({"guest": {"activity_size": "0"}}, r"guest.activity_size: '0' is not a size"),
        ({"guest": {"activity_rate": "100KiB"}}, r"guest.activity_rate: '100KiB' is not a size in whole MiB"),
        ({"guest": {"size": "1GiB"}}, r"unknown key guest.size"),
        ({"load": {"protocol": "http"}}, r"load.protocol is 'http'; choose one of memcached, redis"),
        ({"load": {"distribution": "normal"}}, r"load.distribution is 'normal'; choose one of uniform, zipf"),
        ({"load": {"protocol": "redis"}}, r"needs guest.activity"),
        ({"load": {"increment_share": 0.5}}, r"a counter for each of 8 connections, not 0"),
        ({"memcaslap": {"overwrite_share": 1.0}}, r"memcaslap: overwrite_share 1 makes memcaslap write one"),
        ({"memcaslap": {"windows": 1}}, r"unknown key memcaslap.windows"),
        ({"timing": {"min_dirty_rate": "fast"}}, r"timing.min_dirty_rate"),
        ({"migration": {"modes": []}}, r"at least one mode"),
    ],
)
def test_what_cannot_be_is_refused_by_name(data: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_scenario(data, "x")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_scenario_is_named_after_its_file_and_says_what_it_is(path: Path) -> None:
    scenario = read_scenario(path)
    assert scenario.name == path.stem
    assert len(scenario.description) > 20
    if path.stem in COMPARED:
        names = [mode.name for mode in scenario.modes]
        assert {"plain", "auto-converge", "post-copy", "multifd-zstd", "thesis", "xen", "pagethrift"} <= set(
            names
        )
        assert len([name for name in names if name.startswith("xbzrle:")]) == 2
        assert (scenario.min_dirty_rate_bps == 0) == (path.stem == "idle")


def test_all_compared_scenarios_and_all_activities_are_shipped() -> None:
    assert {path.stem for path in SHIPPED} >= COMPARED
    assert {read_scenario(path).guest.activity for path in SHIPPED} == set(ACTIVITIES)


def test_clients_of_redis_go_to_redis() -> None:
    scenario = read_scenario(next(path for path in SHIPPED if path.stem == "redis"))
    assert scenario.load.protocol is Protocol.REDIS
    assert scenario.guest.activity == "redis"


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("kvm-default", "--strategy kvm-default"),
        ("thesis@nova", "--strategy thesis --stop nova"),
        ("hu@xen:ones=2", "--strategy hu --stop xen --param=ones=2"),
        ("pagethrift+multifd:2", "--strategy pagethrift --multifd 2"),
        ("thesis@nova:steps=5+multifd:4", "--strategy thesis --stop nova --param=steps=5 --multifd 4"),
        ("pagethrift+channels:4+window:1MiB", "--strategy pagethrift --channels 4 --window 1048576B"),
        ("pagethrift+compress:off", "--strategy pagethrift --compress off"),
        ("multifd-zstd", "--plain --max-bandwidth 0 --multifd 2 --multifd-compression zstd"),
        ("xbzrle:2GiB", "--plain --max-bandwidth 0 --xbzrle-cache 2147483648B"),
    ],
)
def test_a_mode_becomes_the_arguments_of_migrate(text: str, arguments: str) -> None:
    assert parse_mode(text).arguments == tuple(arguments.split())


@pytest.mark.parametrize(
    ("text", "without", "plain"),
    [
        ("pagethrift+compress:on+tls", "pagethrift+compress:on", False),
        ("multifd-zstd+tls", "multifd-zstd", True),
    ],
)
def test_a_mode_with_tls_is_the_same_mode_encrypted(text: str, without: str, plain: bool) -> None:
    mode = parse_mode(text)
    assert mode == replace(parse_mode(without), name=text, encrypted=True)
    assert mode.plain is plain


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("thesis@never", "no stop rule 'never'"),
        ("hu:z=1", "has no parameter 'z'"),
        ("hu:ones", "is not a parameter"),
        ("thesis-literal", "thesis"),
        ("pagethrift+zstd", r"after \+ goes multifd:CHANNELS, channels:CHANNELS"),
        ("pagethrift+compress:much", r"compress:off\|auto\|on"),
        ("pagethrift+channels:0", r"1 to 255 channels"),
        ("plain@nova", "no mode 'plain@nova'"),
        ("faster", "no mode 'faster'"),
    ],
)
def test_a_mode_that_cannot_run_is_refused_before_anything_starts(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_mode(text)


@pytest.mark.parametrize("text", ["plain", "pagethrift+compress:off", "xbzrle:64MiB+tls"])
def test_a_mode_with_a_forecast_is_the_same_mode_watched_before(text: str) -> None:
    mode, without = parse_mode(f"{text}+forecast"), parse_mode(text)
    assert mode.arguments == (*without.arguments, "--watch", "20s")
    assert (mode.name, mode.encrypted) == (f"{text}+forecast", without.encrypted)


def test_a_mode_that_follows_a_forecast() -> None:
    assert parse_mode("auto").arguments == ("--auto", "--watch", "20s")
    assert not parse_mode("auto").plain
