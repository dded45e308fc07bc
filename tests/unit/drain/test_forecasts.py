"""Where costs come from: stated, a file, or watching, once and never a guest on its way."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pagethrift.drain import forecasts
from pagethrift.drain.forecasts import Known, know
from pagethrift.errors import QmpError, UsageError
from pagethrift.evacuation.link import Links
from pagethrift.evacuation.plan import Guest, Plan, When
from tests.unit.evacuation.test_costs import forecast

NOW_S = 1e8


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    calls: list[list[str]] = []

    async def run(arguments: list[str], within_s: float) -> tuple[int, str]:
        calls.append(arguments)
        out = next(each for each in arguments if each.startswith("--out=")).removeprefix("--out=")
        if "broken" in out:
            return 5, "pagethrift: source QMP socket /x: does not exist"
        Path(out).write_text(json.dumps(forecast()))
        return 0, ""

    monkeypatch.setattr(forecasts, "_run", run)
    return calls


def known(
    folder: Path, *guests: Guest, on_way: tuple[str, ...] = (), now_s: float = NOW_S
) -> dict[str, Known]:
    plan = Plan(guests, Links(125e6, {"": 125e6}), When(after_s=60.0), watch_s=5.0)
    said: list[str] = []
    return asyncio.run(know(plan, guests, on_way, folder, folder, now_s, said.append))


def guest(name: str = "a", **more: Any) -> Guest:
    return Guest(name, "", qmp=f"/{name}", to="h:1", **more)


def test_stated_and_given_guests_are_not_watched(tmp_path: Path, watched: list[list[str]]) -> None:
    (tmp_path / "b.json").write_text(json.dumps(forecast()))
    found = known(
        tmp_path, guest(memory_bytes=1 << 30, dirty_bps=1000), guest("b", forecast=Path("b.json")),
        guest("c", forecast=Path("b.json"), options=("--plain",)),
    )  # fmt: skip
    assert watched == []
    assert (found["a"].ram_bytes, found["a"].options) == (1 << 30, ())
    assert found["b"].options == ("--strategy", "pagethrift", "--compress", "off")
    assert found["c"].options == ("--plain",)


def test_others_are_watched_once(tmp_path: Path, watched: list[list[str]]) -> None:
    first = known(tmp_path, guest())
    (call,) = watched
    assert call[3:] == [
        "forecast", "--qmp=/a", "--bandwidth=125000000B/s", "--downtime-limit=0.300000s", "--seconds=5.000s",
        f"--out={tmp_path}/a.forecast.json", "--curve", f"--plot={tmp_path}/a.forecast.svg",
    ]  # fmt: skip
    assert known(tmp_path, guest()) == first
    assert len(watched) == 1
    known(tmp_path, guest(), now_s=1e10)
    assert len(watched) == 2, "it had expired"


def test_without_the_library_no_picture_is_asked_for(
    tmp_path: Path, watched: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecasts, "find_spec", lambda _: None)
    known(tmp_path, guest())
    assert watched[0][-1] == "--curve"


def test_a_domain_is_watched_by_libvirt_and_gets_its_options(
    tmp_path: Path, watched: list[list[str]]
) -> None:
    domain = Guest("a", "", domain="vm", desturi="qemu:///x", connect="qemu:///session")
    known(tmp_path, domain)
    assert watched[0][4:6] == ["--domain=vm", "--connect=qemu:///session"]
    (tmp_path / "b.json").write_text(json.dumps({**forecast(), "libvirt": True}))
    found = known(tmp_path, replace(domain, forecast=Path("b.json")))["a"]
    assert found.options == ("--strategy", "pagethrift", "--compress", "off")
    assert "is of no" not in found.warning
    found = known(tmp_path, guest(forecast=Path("b.json")))["a"]
    assert found.options == ()
    assert "is of no qmp" in found.warning


def test_who_is_on_its_way_is_not_watched(tmp_path: Path, watched: list[list[str]]) -> None:
    found = known(tmp_path, guest(), on_way=("a",))
    assert (watched, found["a"].costs.points) == ([], ())


def test_what_is_wrong_is_said_with_the_guest(tmp_path: Path, watched: list[list[str]]) -> None:
    with pytest.raises(QmpError, match="guest broken: no forecast: source QMP socket /x"):
        known(tmp_path, guest("broken"))
    with pytest.raises(UsageError, match=r"guest a: .*none\.json"):
        known(tmp_path, guest(forecast=Path("none.json")))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"options": "--check"}, "--check is not for this place"),
        ({"options": "--qmp=/another"}, "--qmp is not for this place"),
        ({"total_time_s": {"low": 0.0, "median": 1e-300, "high": 1.0}}, "not a forecast that can be read"),
        ({"ram_bytes": 10**400}, "not a forecast that can be read"),
    ],
)
def test_a_forecast_that_would_break_the_evacuation_is_refused(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    data = forecast()
    for name, value in change.items():
        for each in data["modes"]:
            each[name] = value
        if name in data:
            data[name] = value
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(UsageError, match=words):
        known(tmp_path, guest(forecast=Path("a.json")))


def test_options_of_migrate_are_not_given_to_libvirt(tmp_path: Path, watched: list[list[str]]) -> None:
    (tmp_path / "a.json").write_text(json.dumps(forecast()))
    domain = Guest("a", "", domain="a", desturi="qemu:///x", forecast=Path("a.json"))
    found = known(tmp_path, domain)["a"]
    assert found.options == ()
    assert "its forecast, for --strategy pagethrift --compress off, is of no domain" in found.warning


def test_warnings(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(forecast()))
    given = guest(forecast=Path("a.json"), downtime_limit_s=0.1)
    found = known(tmp_path, given, now_s=1e10)["a"]
    assert found.warning.startswith("a: its forecast has expired")
    assert "is for a downtime limit of 0.3 s" in found.warning
