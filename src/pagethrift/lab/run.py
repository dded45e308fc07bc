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
from typing import Any

from pagethrift.errors import LabError
from pagethrift.lab.acceleration import accelerator
from pagethrift.lab.client import Clients
from pagethrift.lab.dirty_rate import dirty_rate, require_dirty_rate
from pagethrift.lab.equality import RamEquality, compare_ram
from pagethrift.lab.image import guest_image
from pagethrift.lab.machine import Machine, start_qemu
from pagethrift.lab.monitor import Monitor
from pagethrift.lab.network import Host, TwoHosts, sweep_leftovers
from pagethrift.lab.packages import qemu
from pagethrift.lab.processes import ProcessGroup
from pagethrift.lab.run_result import RunResult
from pagethrift.lab.scenario import ModeSpec, Scenario
from pagethrift.model.result import MigrationResult
from pagethrift.units import format_bytes, format_seconds

MIGRATION_PORT = 4444
BOOT_TIMEOUT_S = 120.0
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
        hosts = stack.enter_context(TwoHosts(link_bps=scenario.link_bps))
        group = stack.enter_context(ProcessGroup(folder))
        stage = _Stage(scenario, mode, folder, hosts, group, show)
        return stage.run(repetition, check_ram)


def boot(
    scenario: Scenario, host: Host, group: ProcessGroup, folder: Path, *, incoming: bool = False
) -> Machine:
    """Start the scenario's guest on a host, as the destination of a migration if ``incoming``."""
    binary = qemu(scenario.qemu)
    image = guest_image("redis-server") if scenario.guest.activity == "redis" else guest_image()
    return start_qemu(
        group, name="destination" if incoming else "source", host=host, guest=scenario.guest,
        image=image, qemu=binary, accelerator=accelerator(binary), folder=folder,
        incoming=incoming, paused=incoming,
    )  # fmt: skip


def warm_up(scenario: Scenario, load: Clients, source: Machine, show: Show) -> int:
    """Fill, let the load run, and return the dirty rate in bytes per second.

    Raises LabError when the guest writes less than the scenario says.
    """
    show(Event("fill", f"{scenario.load.keys} keys"))
    load.wait_filled()
    show(Event("warm up", format_seconds(scenario.warm_up_s)))
    time.sleep(scenario.warm_up_s)
    with Monitor(source.observer_qmp_path) as monitor:
        rate_bps = dirty_rate(monitor)
    show(Event("dirty rate", f"{format_bytes(rate_bps)}/s"))
    require_dirty_rate(rate_bps, scenario.min_dirty_rate_bps, scenario.name)
    return rate_bps


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
        load = Clients(self._scenario, self._folder, self._hosts, self._group)
        rate_bps = warm_up(self._scenario, load, source, self._show)
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
            source.accelerator.value, client["failed"], ram, rate_bps,
        )  # fmt: skip

    def _start_guests(self) -> tuple[Machine, Machine]:
        self._show(Event("boot", f"QEMU {self._scenario.qemu}"))
        source = boot(self._scenario, self._hosts.a, self._group, self._folder)
        destination = boot(self._scenario, self._hosts.b, self._group, self._folder, incoming=True)
        source.wait_ready(BOOT_TIMEOUT_S)
        return source, destination

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
        if scenario.link_bps:
            command += ["--bandwidth", f"{scenario.link_bps}B"]
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
