"""A relay seen from outside, as operators start it: metrics, log, top, set; and nothing of it steers."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pagethrift.cli.outside import checked_id
from pagethrift.errors import UsageError
from pagethrift.model.running import Running
from tests.unit.cli.test_top import run
from tests.unit.outside.sockets import use

START_S = 60
"""kernels may have to be compiled"""


@pytest.fixture(autouse=True)
def state(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return use(folder, monkeypatch)


@contextmanager
def relay(folder: Path, *more: str, program: str = "") -> Iterator[subprocess.Popen[str]]:
    program = (
        "import pathlib, pagethrift.state_folder as s\n"
        f"s.ROOTS = pathlib.Path({str(folder)!r}) / 'pagethrift'\n{program}\n"
        "from pagethrift.cli.main import main\nmain()"
    )
    argv = [sys.executable, "-c", program, "relay", "--listen", f"unix:{folder}/relay.sock"]
    argv += ["--connect", f"unix:{folder}/nobody.sock", *more]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def listening(folder: Path) -> None:
    deadline_s = time.monotonic() + START_S
    while not (folder / "relay.sock").exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def scraped(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def top() -> list[Running]:
    found = json.loads(run("top", "--json").stdout)
    return [Running(each["id"], state=each["state"]) for each in found if each["answers"]]


def test_metrics_top_and_set_of_a_relay(folder: Path) -> None:
    port = free_port()
    with relay(folder, "--metrics", f"127.0.0.1:{port}", "--id", "vm1") as process:
        listening(folder)
        deadline_s = time.monotonic() + START_S
        while 'pagethrift_downtime_limit_seconds{migration="vm1"} 0.3' not in (text := scraped(port)):
            assert time.monotonic() < deadline_s, text  # it listens a moment before it says so
            time.sleep(0.02)
        assert 'pagethrift_state{migration="vm1",state="listening"} 1.0' in text
        assert top() == [Running("vm1", state="listening")]
        done = run("set", "vm1", "--downtime-limit", "2s", "--bandwidth", "1Gbit")
        assert done.stdout == "vm1: downtime limit 2.0 s, bandwidth 1 Gbit/s\n", done.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 130
    assert top() == []
    assert not list((folder / "pagethrift").glob("*.sock"))


def test_a_busy_address_is_refused_before_anything_listens(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with relay(folder, "--metrics", address) as process:
            assert process.wait(START_S) == 4
            assert process.stderr is not None
            assert process.stderr.read().startswith(f"pagethrift: cannot listen on {address}")
    assert not (folder / "relay.sock").exists()


def test_what_fails_or_is_missing_costs_the_relay_nothing(folder: Path) -> None:
    """No folder for the status socket, and prometheus-client not installed."""
    (folder / "pagethrift").write_text("in the way")
    with relay(folder) as process:
        listening(folder)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 130
        assert process.stderr is not None
        assert "warning: no folder for a status socket" in process.stderr.read()
    with relay(
        folder, "--metrics", "127.0.0.1:0", program="import sys; sys.modules['prometheus_client'] = None"
    ) as process:
        assert process.wait(START_S) == 2
        assert process.stderr is not None
        assert "pip install '.[metrics]' in its sources" in process.stderr.read()


def test_a_killed_relays_socket_is_swept(folder: Path) -> None:
    with relay(folder, "--id", "old") as process:
        listening(folder)
        process.kill()
        process.wait()
    assert len(list((folder / "pagethrift").glob("*.sock"))) == 1
    assert top() == []
    assert list((folder / "pagethrift").glob("*.sock")) == []


def test_the_log_is_json_lines_and_nothing_else(folder: Path) -> None:
    with relay(folder, "--log-json", "--id", "vm1", "--downtime-limit", "1s") as process:
        listening(folder)
        assert run("set", "--downtime-limit", "2s").returncode == 0
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
        assert process.returncode == 130
    lines = [json.loads(line) for line in err.splitlines()]
    assert out == ""
    assert [line["event"] for line in lines] == ["start", "state", "changed", "state", "error"]
    assert {line["migration"] for line in lines} == {"vm1"}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) for line in lines)
    assert (lines[0]["kind"], lines[0]["pid"]) == ("relay", process.pid)
    assert lines[1]["state"] == "listening"
    assert (lines[2]["downtime_limit_s"], lines[2]["bandwidth_cap_bps"]) == (2.0, 0)
    assert lines[3]["state"] == "failed"
    assert (lines[4]["level"], lines[4]["error"], lines[4]["exit_code"]) == ("error", "interrupted", 130)


def test_an_error_is_a_log_line_with_the_exit_code(folder: Path) -> None:
    with relay(folder, "--log-json", "--strategy", "nobodys") as process:
        _, err = process.communicate(timeout=START_S)
        assert process.returncode == 2
    (*_, last) = [json.loads(line) for line in err.splitlines()]
    assert (last["event"], last["exit_code"]) == ("error", 2)
    assert "nobodys" in last["error"]


def test_a_log_that_nobody_reads_delays_nothing(folder: Path) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    while True:
        try:
            os.write(write_end, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(write_end, True)
    argv = [
        sys.executable,
        "-m",
        "pagethrift",
        "relay",
        "--log-json",
        "--listen",
        f"unix:{folder}/relay.sock",
    ]
    with subprocess.Popen([*argv, "--connect", f"unix:{folder}/nobody.sock"], stderr=write_end) as process:
        try:
            listening(folder)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 130
        finally:
            process.kill()
    os.close(read_end)
    os.close(write_end)


def test_ids() -> None:
    assert checked_id("vm1.prod-2") == "vm1.prod-2"
    assert checked_id(None) != checked_id(None)
    for wrong in ("", "a b", "x" * 65, "-a", 'a"'):
        with pytest.raises(UsageError, match="--id"):
            checked_id(wrong)


def test_a_relay_without_metrics_loads_no_web_server() -> None:
    program = "import sys, pagethrift.cli.relay, pagethrift.cli.migrate\n"
    program += "unwanted = {'http.server', 'prometheus_client', 'logging.handlers'}\n"
    program += "print([*unwanted & sys.modules.keys()])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
