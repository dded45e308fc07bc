"""The guest's clients in their namespace: the load generator, and memcaslap if the scenario asks for it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pagethrift.errors import LabError
from pagethrift.lab.guest.image import MEMCACHED_PORT, REDIS_PORT
from pagethrift.lab.hosts.lines import LineReader
from pagethrift.lab.hosts.network import GUEST_ADDRESS, TwoHosts
from pagethrift.lab.hosts.processes import Process, ProcessGroup
from pagethrift.lab.load.memcaslap import Memcaslap
from pagethrift.lab.load.spec import Protocol
from pagethrift.lab.scenario import Scenario

FILL_TIMEOUT_S = 180.0


class Clients:
    """Running clients; they end with their process group."""

    def __init__(self, scenario: Scenario, folder: Path, hosts: TwoHosts, group: ProcessGroup) -> None:
        """Start the generator; its description and its report go into ``folder``."""
        self._memcaslap_spec = scenario.memcaslap
        self._memcaslap: Memcaslap | None = None
        self._folder, self._namespace, self._group = folder, hosts.client_namespace, group
        spec, self._out = folder / "load.json", folder / "client.json"
        spec.write_text(scenario.load.to_json())
        port = REDIS_PORT if scenario.load.protocol is Protocol.REDIS else MEMCACHED_PORT
        command = [
            sys.executable,
            "-m",
            "pagethrift.lab.load.generator",
            "--spec",
            str(spec),
            "--out",
            str(self._out),
        ]
        command += ["--server", f"{GUEST_ADDRESS}:{port}"]
        self._process: Process = group.start(
            command, name="load", namespace=self._namespace,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.popen.stdout is not None
        self._lines = LineReader(self._process.popen.stdout)

    def wait_filled(self) -> None:
        """Wait until the server holds all keys and the load has begun. Raises LabError."""
        self._wait("loaded", FILL_TIMEOUT_S)
        self._wait("phase", 10.0)
        if self._memcaslap_spec:
            self._memcaslap = Memcaslap(self._memcaslap_spec, self._folder, self._namespace, self._group)

    def _wait(self, event: str, timeout_s: float) -> None:
        """Read lines until an event. Raises LabError when the generator ends or is silent."""
        deadline_s = time.monotonic() + timeout_s
        while not self._lines.ended and time.monotonic() < deadline_s:
            line = self._lines.next(deadline_s - time.monotonic())
            if line is not None and json.loads(line).get("event") == event:
                return
        raise LabError(f"the load generator did not reach {event!r}: {self._process.last_words()}")

    def require_running(self) -> None:
        """Raise LabError when one of the clients has ended."""
        self._process.require_running()
        if self._memcaslap:
            self._memcaslap.require_running()

    def begin_phase(self, name: str, unix_s: float) -> None:
        """Say when a phase began, by the wall clock, and wait until the generator has noted it."""
        self._say({"phase": name, "unix_s": unix_s})
        self._wait("phase", 10.0)

    def finish(self) -> dict[str, Any]:
        """Stop the load and return the generator's report, memcaslap's series in it."""
        series = self._memcaslap.finish() if self._memcaslap else None
        self._say({"stop": True})
        self._wait("done", 60.0)
        self._process.wait(30.0)
        report: dict[str, Any] = json.loads(self._out.read_text())
        return report | ({"memcaslap": series} if series else {})

    def _say(self, command: dict[str, Any]) -> None:
        self._process.require_running()
        stdin = self._process.popen.stdin
        assert stdin is not None
        stdin.write(json.dumps(command).encode() + b"\n")
        stdin.flush()
