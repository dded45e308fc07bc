"""A real migration seen from outside while it runs, and changed: metrics, top, log, set."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.qemu.live.pair import Pair
from tests.qemu.live.trial import Trial, trial

pytestmark = pytest.mark.one_qemu

WAIT_S = 30.0
LIMIT_S = 0.002


def free_address() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


class Seen:
    """A migration that goes on until its downtime limit is raised, and the ways to look at it."""

    def __init__(self, it: Trial, name: str, address: str, result: Path) -> None:
        self.trial, self.name, self.address = it, name, address
        self._result = result

    def metrics(self) -> dict[tuple[str, ...], float]:
        """Scrape: name and label values without the id -> value."""
        with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return {
            (
                sample.name,
                *(value for name, value in sample.labels.items() if name != "migration"),
            ): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def top(self) -> dict[str, Any]:
        """Return this migration as `top --json` has it."""
        listed = json.loads(command("top", "--json").stdout)
        (found,) = [each for each in listed if each.get("id") == self.name]
        row: dict[str, Any] = found
        return row

    def set(self, *options: str) -> subprocess.CompletedProcess[str]:
        return command("set", self.name, *options)

    def until(self, reached: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + WAIT_S
        while not reached():
            assert time.monotonic() < deadline_s, self.trial.errors.read_text()
            time.sleep(0.1)

    def end(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Let it end; return its result and its log."""
        code, errors = self.trial.end()
        assert code == 0, errors
        return json.loads(self._result.read_text()), [json.loads(line) for line in errors.splitlines()]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "pagethrift", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


@contextlib.contextmanager
def seen(pair: Pair, *more: str, phase: str = "later rounds") -> Iterator[Seen]:
    name, address, result = f"t{secrets.token_hex(6)}", free_address(), pair.folder / "result.json"
    options = ["--id", name, "--metrics", address, "--log-json", "--out", str(result), *more]
    if phase == "later rounds":  # less than device state alone takes on this link: it goes on until it may
        options += ["--downtime-limit", f"{LIMIT_S * 1000:g}ms"]
    with trial(pair, "relay", phase, straight=True, more=options) as it:
        it.drain()
        it.wait_for(phase)
        yield Seen(it, name, address, result)


def test_seen_and_given_more_downtime(pair: Pair) -> None:
    with seen(pair, "--compress", "off") as it:
        it.until(lambda: ("pagethrift_predicted_downtime_seconds",) in it.metrics())
        silent = [socket.create_connection(tuple(it.address.split(":")), 5) for _ in range(20)]  # type: ignore[arg-type]
        row = it.top()
        while row["predicted_downtime_s"] is None:  # until QEMU has reported on this round
            row = it.top()
        assert (row["kind"], row["state"], row["answers"]) == ("migrate", "active", True)
        assert row["source"] == f"{pair.folder}/a.qmp"
        assert row["downtime_limit_s"] == LIMIT_S
        assert row["predicted_downtime_s"] > LIMIT_S
        assert row["in_bytes"] > row["out_bytes"] > 0
        assert row["rss_bytes"] > row["peak_rss_bytes"] // 2
        for each in silent:
            each.close()
        time.sleep(1)
        now = it.metrics()
        assert now["pagethrift_state", "active"] == 1
        assert now["pagethrift_rounds_total",] >= 2
        assert now["pagethrift_received_bytes_total",] > now["pagethrift_sent_bytes_total",] > 0
        assert now["pagethrift_guest_ram_bytes",] >= 64 << 20
        assert now["pagethrift_link_bytes_per_second",] == pytest.approx(3 << 20, rel=0.7)
        assert sum(value for key, value in now.items() if key[0] == "pagethrift_page_bytes_total") > 0
        refused = it.set("--downtime-limit", "0")
        assert (refused.returncode, "must be positive" in refused.stderr) == (2, True)
        done = it.set("--downtime-limit", "60s")
        assert done.returncode == 0, done.stderr
        assert "downtime limit 60.0 s" in done.stdout
        result, log = it.end()
    assert (result["outcome"], result["converged"], result["migration_id"]) == ("completed", True, it.name)
    assert result["downtime_limit_s"] == 60.0
    (change,) = result["changes"]
    assert (change["downtime_limit_s"], change["bandwidth_bps"]) == (60.0, None)
    assert 0 < change["at_s"] < result["total_time_s"]
    assert pair.states() == ("postmigrate", "running")
    assert {line["migration"] for line in log} == {it.name}
    events = [line["event"] for line in log]
    assert events[0] == "start"
    assert events[-1] == "end"
    for event in ("destination connected", "state", "round", "changed", "switchover"):
        assert event in events
    by_event = {line["event"]: line for line in log}
    assert by_event["switchover"]["reason"] == result["switchover_reason"]
    assert by_event["switchover"]["downtime_limit_s"] == 60.0
    assert (by_event["end"]["exit_code"], by_event["end"]["downtime_s"]) == (0, result["downtime_s"])
    assert json.loads(command("top", "--json").stdout) == [] or all(
        each.get("id") != it.name for each in json.loads(command("top", "--json").stdout)
    )


def carried_bps(it: Trial, seconds: float) -> float:
    before, began_s = it.link.carried, time.monotonic()
    time.sleep(seconds)
    return (it.link.carried - before) / (time.monotonic() - began_s)


@pytest.mark.parametrize("compress", ["off", "on"])
def test_a_cap_on_the_link_and_none_again(pair: Pair, compress: str) -> None:
    """Over one socket, and over all of a link with compressed channels together."""
    with seen(pair, "--compress", compress) as it:
        assert carried_bps(it.trial, 2.0) > 1.3e6
        done = it.set("--bandwidth", "1MB/s")
        assert "bandwidth 8 Mbit/s" in done.stdout, done.stderr
        time.sleep(1.0)  # what the sockets between had taken already
        assert 0.5e6 < carried_bps(it.trial, 3.0) < 1.3e6
        it.until(lambda: it.top()["link_bps"] < 1.3e6)
        assert it.metrics()["pagethrift_bandwidth_cap_bytes_per_second",] == 1e6
        assert it.set("--bandwidth", "unlimited", "--downtime-limit", "60s").returncode == 0
        result, _ = it.end()
    assert [each["bandwidth_bps"] for each in result["changes"]] == [1_000_000, 0]
    assert pair.states() == ("postmigrate", "running")


def test_a_plain_migration_is_changed_in_qemu_itself(pair: Pair) -> None:
    with seen(pair, "--plain") as it:
        assert it.set("--downtime-limit", "700ms", "--bandwidth", "2MB/s").returncode == 0
        assert (pair.parameter("downtime-limit"), pair.parameter("max-bandwidth")) == (700, 2_000_000)
        row = it.top()
        assert row["downtime_limit_s"] == pytest.approx(0.7)
        assert (row["bandwidth_cap_bps"], row["in_bytes"]) == (2e6, 0)
        assert it.set("--downtime-limit", "100s", "--bandwidth", "unlimited").returncode == 0
        result, _ = it.end()
    assert (result["mode"], result["downtime_limit_s"]) == ("plain", 100.0)
    assert len(result["changes"]) == 2
    assert pair.states() == ("postmigrate", "running")
    assert (pair.parameter("downtime-limit"), pair.parameter("max-bandwidth")) == (300, 128 << 20)


def test_in_the_switchover_it_is_too_late(pair: Pair) -> None:
    with seen(pair, phase="device state") as it:  # where the link waits
        done = it.set("--downtime-limit", "9s")
        assert (done.returncode, "nothing was changed: the switchover has begun" in done.stderr) == (2, True)
        result, _ = it.end()
    assert (result["downtime_limit_s"], result["changes"]) == (0.5, [])


def test_an_address_that_is_busy_moves_nothing(pair: Pair) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = command(
            "migrate",
            "--qmp",
            f"{pair.folder}/a.qmp",
            "--to",
            f"unix:{pair.folder}/link.sock",
            "--metrics",
            address,
        )
    assert done.returncode == 4
    assert done.stderr.startswith(f"pagethrift: cannot listen on {address}: ")
    assert pair.source.qmp.execute("query-migrate") == {}
