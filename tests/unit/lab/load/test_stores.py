"""Both protocols against the real servers, on unix sockets of this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pagethrift.lab.load.generator import Load
from pagethrift.lab.load.spec import LoadSpec, Protocol
from pagethrift.lab.load.stores import STORE_ERRORS, Store, connect

COMMANDS = {
    Protocol.MEMCACHED: "memcached -u root -s {socket} -m 64",
    Protocol.REDIS: "redis-server --unixsocket {socket} --port 0 --save",
}


@dataclass
class Server:
    protocol: Protocol
    socket: str
    process: subprocess.Popen[bytes]


@pytest.fixture(params=list(Protocol))
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    words = COMMANDS[request.param].format(socket=tmp_path / "s").split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"no {words[0]} here; run scripts/setup-system.sh as root")
    if request.param is Protocol.REDIS:
        words.append("")
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL)
    gives_up_s = time.monotonic() + 10
    while not (tmp_path / "s").exists():
        assert time.monotonic() < gives_up_s, f"{words[0]} did not start"
        time.sleep(0.02)
    yield Server(request.param, str(tmp_path / "s"), process)
    process.kill()
    process.wait()


@pytest.fixture
def store(server: Server) -> Iterator[Store]:
    made = connect(LoadSpec(protocol=server.protocol, timeout_s=20), server.socket)
    yield made
    made.close()


def test_values_come_back_and_missing_keys_do_not(store: Store) -> None:
    values = {b"a": bytes(range(256)), b"b": b"\r\nEND\r\n"}
    store.fill(values)
    assert store.get_many([b"b", b"none", b"a"]) == values
    assert store.set_many({b"a": b"new"}) == set()
    assert store.get_many([b"a"]) == {b"a": b"new"}
    assert store.held().items == 2


def test_counters_count_in_order_and_unknown_ones_are_none(store: Store) -> None:
    store.fill({b"c": store.counter_start, b"d": store.counter_start})
    assert store.increment_many([b"c", b"d", b"c", b"none", b"c"])[:3] == [1, 1, 2]
    assert int(store.get_many([b"c"])[b"c"]) == 3
    assert store.increment_many([b"c"] * 500)[-1] == 503


def test_abort_ends_a_call_that_waits(server: Server, store: Store) -> None:
    store.get_many([b"a"])
    failed = threading.Event()

    def wait() -> None:
        try:
            store.get_many([b"a"])
        except STORE_ERRORS:
            failed.set()

    server.process.send_signal(signal.SIGSTOP)
    os.waitpid(server.process.pid, os.WUNTRACED)  # until each of its threads stands: none may answer
    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.2)
    store.abort()
    assert failed.wait(5)
    thread.join()


def test_a_load_runs_on_either_and_counts_increments(server: Server) -> None:
    spec = LoadSpec(
        protocol=server.protocol, keys=200, value_bytes=100, counters=100, increment_share=0.5,
        rate_per_s=1500, connections=4, max_backlog_s=30,
    )  # fmt: skip
    load = Load(spec, server.socket)
    assert load.fill()["items"] == 300
    before_s = time.time()
    load.start()
    time.sleep(1.0)
    result = load.finish()
    assert result["failed"] == 0
    assert result["increments"] / result["operations"] == pytest.approx(0.5, abs=0.1)
    assert result["counters"] == {
        "counters": 100, "acknowledged": result["increments"], "lost": 0, "unchecked_connections": 0,
    }  # fmt: skip
    assert before_s <= result["began_unix_s"] <= time.time()
