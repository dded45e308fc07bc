"""Start the service of many migrations as operators do, and read what it says."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import psutil

START_S = 60.0
"""kernels may have to be compiled"""


class ServiceProcess:
    """``pagethrift relay --serve --json`` with everything it said."""

    def __init__(self, *arguments: str, prefix: Sequence[str] = (), **popen: Any) -> None:
        command = [*prefix, sys.executable, "-m", "pagethrift", "relay", "--serve", "--json", *arguments]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **popen,
        )
        self.events: list[dict[str, Any]] = []
        self.said: list[str] = []
        self._readers = [
            threading.Thread(target=self._read_events, daemon=True),
            threading.Thread(target=self._read_words, daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        try:
            self.addresses: list[str] = self.wait_for("listening", START_S)["addresses"]
        except BaseException:
            self.close()
            raise

    @property
    def port(self) -> int:
        """Of its first address."""
        return int(self.addresses[0].rpartition(":")[2])

    def wait_for(self, kind: str, timeout_s: float = 20.0, **fields: Any) -> dict[str, Any]:
        """Return the first event of a kind with these fields; waits for it."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            ended = self.process.poll() is not None
            if ended:
                self._readers[0].join(5)
            if found := self.all(kind, **fields):
                return found[0]
            if ended or time.monotonic() > deadline_s:
                raise TimeoutError(f"no {kind} {fields}: {self.events} {self.said}")
            time.sleep(0.01)

    def all(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        """Return the events of a kind with these fields."""
        return [each for each in self.events if each["type"] == kind and fields.items() <= each.items()]

    def wait_for_all(self, kind: str, count: int, timeout_s: float = 60.0) -> list[dict[str, Any]]:
        """Return the events of a kind once there are so many."""
        deadline_s = time.monotonic() + timeout_s
        while len(found := self.all(kind)) < count:
            if time.monotonic() > deadline_s or self.process.poll() is not None:
                raise TimeoutError(f"{len(found)} of {count} times {kind}: {self.events} {self.said}")
            time.sleep(0.01)
        return found

    def wait_for_ends(self, count: int, timeout_s: float = 60.0) -> list[dict[str, Any]]:
        """Return the ends of so many migrations."""
        return self.wait_for_all("end", count, timeout_s)

    def terminate(self) -> None:
        """Tell it to end."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float = 30.0) -> int:
        """Return the exit code."""
        return self.process.wait(timeout_s)

    def close(self) -> None:
        """Kill it and what it started, if they still run."""
        kill_tree(self.process)
        for reader in self._readers:
            reader.join(5)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def __enter__(self) -> ServiceProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_events(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.append(json.loads(line))

    def _read_words(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line.rstrip("\n"))


def kill_tree(process: subprocess.Popen[str]) -> None:
    """Kill a process and what it started; one behind nsenter would outlive it, and hold its pipes."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for each in psutil.Process(process.pid).children(recursive=True):
            each.kill()
    process.kill()
    process.wait()


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nobody has."""
    with socket.create_server((host, 0)) as found:
        port: int = found.getsockname()[1]
    return port
