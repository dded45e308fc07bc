"""The load generator against a real memcached on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymemcache.client.base import Client

from pagethrift.errors import LabError, UsageError
from pagethrift.lab.load.generator import Load, parse_server
from pagethrift.lab.load.spec import LoadSpec, key_name, key_value

pytestmark = pytest.mark.slow

SMALL = LoadSpec(keys=2000, value_bytes=200, rate_per_s=1500, connections=4, max_backlog_s=30)


class Memcached:
    """A private memcached on a port of its own."""

    def __init__(self, megabytes: int = 64) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.address = ("127.0.0.1", self.port)
        self.megabytes = megabytes
        self.start()

    def start(self) -> None:
        user = ["-u", "root"] if os.geteuid() == 0 else []
        command = ["memcached", *user, "-l", "127.0.0.1", "-p", str(self.port), "-U", "0", "-t", "1"]
        self.process = subprocess.Popen([*command, "-m", str(self.megabytes)])
        deadline_s = time.monotonic() + 5
        while True:
            with contextlib.suppress(OSError), socket.create_connection(self.address, 1):
                return
            assert time.monotonic() < deadline_s, "memcached did not start"
            time.sleep(0.02)

    def pause(self, seconds: float) -> None:
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def memcached() -> Iterator[Memcached]:
    if shutil.which("memcached") is None:
        pytest.skip("memcached is not installed: apt-get install memcached")
    server = Memcached()
    yield server
    server.stop()


def run(
    spec: LoadSpec, server: Memcached, disturb: Callable[[], None], tail_s: float = 0.7
) -> dict[str, Any]:
    """Fill, load for a moment, disturb, load for another moment."""
    load = Load(spec, server.address)
    load.fill()
    load.start()
    time.sleep(0.7)
    disturb()
    time.sleep(tail_s)
    return load.finish()


def test_quiet_run_has_the_rate_the_shares_and_no_faults(memcached: Memcached) -> None:
    result = run(SMALL, memcached, lambda: time.sleep(1.5))
    assert result["operations_per_s"] == pytest.approx(1500, rel=0.15)
    assert result["sets"] / result["operations"] == pytest.approx(0.5, abs=0.05)
    assert result["same_value_sets"] / result["sets"] == pytest.approx(0.3, abs=0.05)
    faults = ("missing", "wrong", "refused", "lost", "shed", "errors")
    assert {name: result[name] for name in faults} == dict.fromkeys(faults, 0)
    assert 0 < result["generator_cpu_share"] < 1


def test_same_value_share_reaches_the_server(memcached: Memcached) -> None:
    """Versions count the changes of a key, so their sum is the number of changing sets."""
    load = Load(SMALL, memcached.address)
    load.fill()
    load.start()
    time.sleep(1.5)
    result = load.finish()
    client = Client(memcached.address)
    names = [key_name(index) for index in range(SMALL.keys)]
    held = client.get_many(names)
    changes = sum(int.from_bytes(held[name][8:16], "big") for name in names)
    assert changes == result["sets"] - result["same_value_sets"]


def test_a_phase_may_begin_in_the_past_but_not_before_the_last_one(memcached: Memcached) -> None:
    load = Load(SMALL, memcached.address)
    load.fill()
    load.start()
    time.sleep(0.5)
    began, now_s = load.phase("during", time.time() - 0.3), time.monotonic()
    after = load.phase("after", time.time() - 5)
    later = load.phase("later", time.time() + 5)
    result = load.finish()
    assert began.began_s == pytest.approx(now_s - 0.3, abs=0.1)
    assert after.began_s == began.began_s
    assert began.began_s <= later.began_s <= time.monotonic()
    assert [phase["operations"] > 50 for phase in result["phases"]] == [True, False, True, False]


def test_pause_is_seen_by_every_operation_that_was_due(memcached: Memcached) -> None:
    result = run(SMALL, memcached, lambda: memcached.pause(1.0), tail_s=1.5)
    assert 0.95 < result["blackout_s"] < 1.3
    assert result["errors"] == result["wrong"] == result["shed"] == 0
    # About 1500 of 4800 operations were due in the pause, waiting 0..1 s: a generator that
    # waited with the server would show 4 slow ones, one a connection.
    assert result["latency_ms"]["p99"] > 800
    assert result["latency_ms"]["p999"] > 900
    assert result["latency_ms"]["p90"] > 300
    assert result["latency_ms"]["p50"] < 300
    began_s = result["blackout_began_s"] - result["began_s"]
    assert 0.5 < began_s < 1.0
    quiet = result["series"]["operations"][int(began_s * 10) + 2 : int(began_s * 10) + 9]
    assert quiet == [0] * len(quiet)


def test_backlog_after_a_long_pause_is_bounded_and_reported(memcached: Memcached) -> None:
    spec = LoadSpec(keys=500, value_bytes=100, rate_per_s=1500, connections=4, max_backlog_s=0.3)
    result = run(spec, memcached, lambda: memcached.pause(1.5))
    assert 1500 * 0.8 < result["shed"] < 1500 * 1.4
    assert result["errors"] == result["wrong"] == 0
    assert result["latency_ms"]["p99"] > 1000
    assert result["blackout_s"] > 1.4


def test_value_changed_behind_its_back_is_wrong(memcached: Memcached) -> None:
    def corrupt() -> None:
        client = Client(memcached.address)
        names = [key_name(index) for index in range(SMALL.keys)]
        held = client.get_many(names)
        damaged = {name: value[:-1] + bytes([value[-1] ^ 1]) for name, value in held.items()}
        client.set_many(damaged)

    result = run(SMALL, memcached, corrupt)
    assert result["wrong"] > 50
    assert "damaged" in result["wrong_examples"][0]
    assert len(result["wrong_examples"]) <= 5 * SMALL.connections


def test_older_value_is_wrong_and_named(memcached: Memcached) -> None:
    client = Client(memcached.address)
    names = [key_name(index) for index in range(SMALL.keys)]

    def restore_first_values() -> None:
        client.set_many({name: key_value(SMALL, index, 0) for index, name in enumerate(names)})

    result = run(SMALL, memcached, restore_first_values)
    assert result["wrong"] > 10
    assert "holds version 0 of key" in result["wrong_examples"][0]


def test_lost_keys_are_missing_not_wrong(memcached: Memcached) -> None:
    result = run(SMALL, memcached, lambda: Client(memcached.address).flush_all())
    assert result["missing"] > 50
    assert result["wrong"] == result["errors"] == 0


def test_broken_connections_are_counted_and_opened_anew(memcached: Memcached) -> None:
    def restart() -> None:
        memcached.stop()
        time.sleep(0.3)
        memcached.start()

    result = run(SMALL, memcached, restart, tail_s=1.0)
    assert result["lost"] > 0
    assert result["wrong"] == 0
    assert result["series"]["operations"][-3] > 50


def test_finish_ends_even_when_the_server_does_not_answer(memcached: Memcached) -> None:
    load = Load(SMALL, memcached.address)
    load.fill()
    load.start()
    time.sleep(0.3)
    memcached.process.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    began_s = time.monotonic()
    result = load.finish(drain_s=0.5)
    assert time.monotonic() - began_s < 3
    assert result["lost"] > 0


def test_server_that_evicts_is_refused() -> None:
    if shutil.which("memcached") is None:
        pytest.skip("memcached is not installed: apt-get install memcached")
    server = Memcached(megabytes=2)
    try:
        with pytest.raises(LabError, match=r"give it more memory|lost"):
            Load(LoadSpec(keys=20_000), server.address).fill()
    finally:
        server.stop()


def test_server_that_is_not_there_is_a_lab_error() -> None:
    with pytest.raises(LabError, match="failed"):
        Load(LoadSpec(keys=10), ("127.0.0.1", 9)).fill()


@pytest.mark.parametrize("text", ["", "host", "host:", "host:x", ":1", "host:70000", "unix:"])
def test_impossible_servers_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError):
        parse_server(text)


def test_servers_are_read() -> None:
    assert parse_server("10.99.0.10:11211") == ("10.99.0.10", 11211)
    assert parse_server("unix:/run/m.sock") == "/run/m.sock"


@pytest.mark.parametrize("end", ["stop", "SIGTERM", "duration"])
def test_process_obeys_its_commands(memcached: Memcached, tmp_path: Path, end: str) -> None:
    spec, out = tmp_path / "spec.json", tmp_path / "out.json"
    duration = {"duration_s": 1.2} if end == "duration" else {}
    spec.write_text(json.dumps({"keys": 500, "value_bytes": 100, "rate_per_s": 500, **duration}))
    command = [
        sys.executable,
        "-m",
        "pagethrift.lab.load.generator",
        "--server",
        f"127.0.0.1:{memcached.port}",
    ]
    process = subprocess.Popen(
        [*command, "--spec", str(spec), "--out", str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    guard = threading.Timer(30, process.kill)
    guard.start()
    loaded, before = (json.loads(process.stdout.readline()) for _ in range(2))
    assert (loaded["event"], loaded["items"]) == ("loaded", 500)
    assert (before["event"], before["name"]) == ("phase", "before")
    time.sleep(0.4)
    process.stdin.write('nonsense\n{"phase": "during"}\n')
    process.stdin.flush()
    during = json.loads(process.stdout.readline())
    assert during["name"] == "during"
    assert during["at_s"] == pytest.approx(time.monotonic(), abs=0.5)
    time.sleep(0.4)
    if end == "stop":
        process.stdin.write('{"stop": true}\n')
        process.stdin.flush()
    elif end == "SIGTERM":
        process.terminate()
    done = json.loads(process.stdout.readline())
    assert process.wait() == 0
    guard.cancel()
    assert done["event"] == "done"
    result = json.loads(out.read_text())
    assert [phase["name"] for phase in result["phases"]] == ["before", "during"]
    assert all(phase["operations"] > 50 for phase in result["phases"])
    assert result["wrong"] == result["errors"] == 0


def test_process_names_what_is_wrong(tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text('{"keys": -1}')
    command = [sys.executable, "-m", "pagethrift.lab.load.generator", "--server", "127.0.0.1:9"]
    ended = subprocess.run(
        [*command, "--spec", str(spec), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == UsageError.exit_code
    assert ended.stderr.count("\n") == 1
    assert "keys must be" in ended.stderr
