"""One run: two hosts, a guest under load, one migration, one result."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from pagethrift.errors import LabError
from pagethrift.lab.acceleration import accelerator
from pagethrift.lab.equality import RamEquality, compare_ram
from pagethrift.lab.image import MEMCACHED_PORT, guest_image
from pagethrift.lab.machine import Machine, start_qemu
from pagethrift.lab.monitor import Monitor
from pagethrift.lab.network import GUEST_ADDRESS, TwoHosts, sweep_leftovers
from pagethrift.lab.packages import qemu
from pagethrift.lab.processes import Process, ProcessGroup
from pagethrift.lab.run_result import RunResult
from pagethrift.lab.scenario import ModeSpec, Scenario
from pagethrift.model.result import MigrationResult
from pagethrift.units import format_seconds

MIGRATION_PORT = 4444
BOOT_TIMEOUT_S = 120.0
FILL_TIMEOUT_S = 180.0
SLACK_S = 120.0
"""beyond ``force_after_s``: what a forced switchover of all RAM may still take"""


@dataclass(frozen=True, slots=True)
class Event:
    """Something to show while a run goes on."""

    stage: str
    detail: str = ""
    progress: dict[str, Any] | None = None
    """the migration's progress line, while it runs"""


Show = Callable[[Event], None]


def run(scenario: Scenario, mode: ModeSpec, repetition: int, check_ram: bool, show: Show) -> RunResult:
    """Run a scenario once in one mode and return the result; ends everything it started.

    Raises LabError or the migration's own error class; needs root for namespaces.
    """
    sweep_leftovers()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ptl-")))
        hosts = stack.enter_context(TwoHosts(link_bps=scenario.link.bandwidth_bps))
        group = stack.enter_context(ProcessGroup(folder))
        stage = _Stage(scenario, mode, folder, hosts, group, show)
        return stage.run(repetition, check_ram)


class _Stage:
    def __init__(
        self,
        scenario: Scenario,
        mode: ModeSpec,
        folder: Path,
        hosts: TwoHosts,
        group: ProcessGroup,
        show: Show,
    ) -> None:
        self._scenario = scenario
        self._mode = mode
        self._folder = folder
        self._hosts = hosts
        self._group = group
        self._show = show

    def run(self, repetition: int, check_ram: bool) -> RunResult:
        source, destination = self._start_guests()
        load = _Load(self._scenario, self._folder, self._hosts, self._group)
        self._show(Event("fill", f"{self._scenario.load.keys} keys"))
        load.wait("loaded", FILL_TIMEOUT_S)
        self._show(Event("warm up", format_seconds(self._scenario.warm_up_s)))
        time.sleep(self._scenario.warm_up_s)
        sent_before = self._hosts.bytes_sent()
        load.begin_phase("during")
        migration = self._migrate(source, destination, paused=check_ram)
        load.begin_phase("after")
        sent_bytes = self._hosts.bytes_sent() - sent_before
        ram = self._compare(source, destination) if check_ram else None
        time.sleep(self._scenario.after_s)
        client = load.finish()
        during = next(phase for phase in client["phases"] if phase["name"] == "during")
        migration = replace(
            migration, transferred_bytes=sent_bytes, blackout_s=None if check_ram else during["blackout_s"]
        )
        return RunResult(
            self._scenario.name, self._mode.name, repetition, migration, client,
            source.accelerator.value, client["errors"] + client["wrong"] + client["missing"], ram,
        )  # fmt: skip

    def _start_guests(self) -> tuple[Machine, Machine]:
        scenario = self._scenario
        self._show(Event("boot", f"QEMU {scenario.qemu}"))
        binary = qemu(scenario.qemu)
        how = accelerator(binary)
        image = guest_image()
        machines = [
            start_qemu(
                self._group, name=name, host=host, guest=scenario.guest, image=image, qemu=binary,
                accelerator=how, folder=self._folder, incoming=incoming, paused=incoming,
            )
            for name, host, incoming in (
                ("source", self._hosts.a, False), ("destination", self._hosts.b, True),
            )
        ]  # fmt: skip
        machines[0].wait_ready(BOOT_TIMEOUT_S)
        return machines[0], machines[1]

    def _migrate(self, source: Machine, destination: Machine, paused: bool) -> MigrationResult:
        scenario, out = self._scenario, self._folder / "migration.json"
        command = [
            sys.executable, "-m", "pagethrift", "migrate", "--json", "--out", str(out),
            "--qmp", str(source.qmp_path), "--destination-qmp", str(destination.qmp_path),
            "--to", f"{self._hosts.b.link_address}:{MIGRATION_PORT}",
            "--downtime-limit", f"{scenario.downtime_limit_s}s",
            "--force-after", f"{scenario.force_after_s}s",
            "--timeout", f"{scenario.force_after_s + SLACK_S}s",
            *self._mode.arguments,
        ]  # fmt: skip
        if scenario.link.bandwidth_bps:
            command += ["--bandwidth", f"{scenario.link.bandwidth_bps}B"]
        if paused:
            command.append("--leave-paused")
        process = self._group.start(
            command, name="migrate", namespace=self._hosts.a.namespace, stdout=subprocess.PIPE
        )
        assert process.popen.stdout is not None
        for line in process.popen.stdout:
            self._show_progress(line)
        if process.wait(30) != 0:
            raise LabError(f"the migration failed: {process.last_words().removeprefix('pagethrift: ')}")
        return MigrationResult.from_json(out.read_text())

    def _show_progress(self, line: bytes) -> None:
        try:
            progress = json.loads(line)
        except ValueError:
            return
        if progress.get("type") == "progress":
            self._show(Event("migrate", self._mode.name, progress))

    def _compare(self, source: Machine, destination: Machine) -> RamEquality:
        self._show(Event("compare RAM"))
        with Monitor(source.observer_qmp_path) as a, Monitor(destination.observer_qmp_path) as b:
            equality = compare_ram(a, b, self._scenario.guest.memory_bytes)
            b.execute("cont")
        return equality


class _Load:
    """The load generator's process in the client namespace."""

    def __init__(self, scenario: Scenario, folder: Path, hosts: TwoHosts, group: ProcessGroup) -> None:
        spec, self._out = folder / "load.json", folder / "client.json"
        spec.write_text(scenario.load.to_json())
        command = [sys.executable, "-m", "pagethrift.lab.load", "--spec", str(spec), "--out", str(self._out)]
        command += ["--server", f"{GUEST_ADDRESS}:{MEMCACHED_PORT}"]
        self._process: Process = group.start(
            command, name="load", namespace=hosts.client_namespace,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def wait(self, event: str, timeout_s: float) -> None:
        """Read lines until an event. Raises LabError when the generator ends instead."""
        lines: IO[bytes] | None = self._process.popen.stdout
        assert lines is not None
        deadline_s = time.monotonic() + timeout_s
        for line in lines:
            if json.loads(line).get("event") == event:
                return
            if time.monotonic() > deadline_s:
                break
        raise LabError(f"the load generator did not get to {event!r}: {self._process.last_words()}")

    def begin_phase(self, name: str) -> None:
        """Begin a phase and wait until the generator has noted its time."""
        self._say({"phase": name})
        self.wait("phase", 10.0)

    def finish(self) -> dict[str, Any]:
        """Stop the load and return its report."""
        self._say({"stop": True})
        self.wait("done", 60.0)
        self._process.wait(30.0)
        report: dict[str, Any] = json.loads(self._out.read_text())
        return report

    def _say(self, command: dict[str, Any]) -> None:
        self._process.require_running()
        stdin = self._process.popen.stdin
        assert stdin is not None
        stdin.write(json.dumps(command).encode() + b"\n")
        stdin.flush()
