"""A domain is watched through a live core dump, and is as before however that ends."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from pagethrift.model.forecast import Converges, Forecast
from pagethrift.model.result import MigrationResult
from tests.libvirt.guest import DOMAIN, PAGETHRIFT, Guest
from tests.libvirt.hosts import Done, until
from tests.libvirt.test_migrate import downtime_ms

WATCH = ("--domain", DOMAIN, "--seconds")
FORECAST = (*PAGETHRIFT, "forecast", "--bandwidth", "200Mbit", *WATCH)
IDLE = "idle"
PATIENCE_S = 300.0
"""simulating gets a tenth of a processor that others want too"""


def events(guest: Guest, since: int = 0) -> list[str]:
    return [event.name for event in guest.monitor.events[since:] if event.name in ("STOP", "RESUME")]


def made_by(done: Done) -> Forecast:
    """The forecast in what a command has said."""
    return Forecast.from_data(json.loads(done.said[done.said.index("{") : done.said.rindex("}") + 1]))


def assert_undisturbed(guest: Guest, downtime: int = 300) -> None:
    assert guest.here.state() == "running"
    assert downtime_ms(guest.here) == downtime
    until(lambda: "None" in guest.here.virsh("domjobinfo", DOMAIN), "no job runs")


def test_a_domain_is_forecast_and_runs_on(guest: Guest) -> None:
    guest.here.virsh("migrate-setmaxdowntime", DOMAIN, "450")
    seen = len(guest.monitor.events)
    done = guest.here.run(*FORECAST, "4", "--json", timeout_s=PATIENCE_S)
    assert done.code == 0, done.said
    assert events(guest, seen) == []
    assert_undisturbed(guest, 450)
    made = made_by(done)
    assert made.libvirt
    assert made.recorded_s > 0.0
    chosen = made.mode(made.recommendation.name)
    assert chosen is not None
    assert (chosen.converges, chosen.plain, chosen.channels) == (Converges.YES, False, 0)
    virsh = made.mode("plain")
    assert virsh is not None
    assert "virsh migrate alone" in virsh.caution


@pytest.mark.long
def test_auto_moves_it_as_forecast(guest: Guest) -> None:
    trip = guest.pagethrift_migrate("--auto", "--watch", "4s", "--bandwidth", "200Mbit", "--live")
    assert trip.code == 0, trip.errors
    made = next(line for line in trip.lines if line["type"] == "forecast")
    result = MigrationResult.from_json(json.dumps(trip.result))
    assert result.forecast is not None
    assert result.forecast.recommendation.name == made["recommendation"]["name"] != ""
    assert result.forecast.libvirt
    assert result.converged


@pytest.mark.long
def test_an_idle_domain_stands_for_a_moment_only(guest: Guest) -> None:
    guest.run(activity=IDLE)
    seen = len(guest.monitor.events)
    done = guest.here.run(*FORECAST, "4", "--json", timeout_s=PATIENCE_S)
    assert done.code == 0, done.said
    assert events(guest, seen) == ["STOP", "RESUME"]
    assert_undisturbed(guest)
    made = made_by(done)
    assert "found the guest idle" in made.warnings[0]
    assert all(mode.converges is not Converges.NO for mode in made.modes)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_domain_runs_on_however_its_forecast_ends(guest: Guest, number: int) -> None:
    seen = len(guest.monitor.events)
    command = guest.here.command([*FORECAST, "30"])
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "watching" in line:
            break
    inside = guest.here.run("pgrep", "-f", "pagethrift forecast").said.split()
    guest.here.run("kill", f"-{number}", *inside)
    _, errors = process.communicate(timeout=60)
    assert events(guest, seen) == []
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert errors.splitlines()[-1].startswith("pagethrift: interrupted; ")
        assert_undisturbed(guest)
        return
    until(lambda: "None" in guest.here.virsh("domjobinfo", DOMAIN), "libvirt has ended the dump")
    assert guest.here.state() == "running"
    assert downtime_ms(guest.here) == 1, "nobody was there to put it back"
    done = guest.here.run(*FORECAST, "2", "--json", timeout_s=PATIENCE_S)
    assert done.code == 0, done.said
    assert "what a killed pagethrift leaves behind" in done.said
    assert downtime_ms(guest.here) == 300


def test_what_cannot_be_watched_is_said_in_one_line(guest: Guest) -> None:
    guest.here.virsh("suspend", DOMAIN)
    done = guest.here.run(*FORECAST, "2", timeout_s=PATIENCE_S)
    guest.here.virsh("resume", DOMAIN)
    assert done.code == 10
    assert "is paused and would write nothing" in done.said
    done = guest.here.run(*PAGETHRIFT, "record", "--domain", "nobody", "--out", "/tmp/t.parquet")
    assert done.code == 10
    assert "nobody" in done.said.splitlines()[-1]
