"""One run of a scenario: two hosts, a guest under load, one migration, one result."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pagethrift.errors import LabError
from pagethrift.lab.clients import Clients
from pagethrift.lab.encryption import encrypt
from pagethrift.lab.guest.acceleration import accelerator
from pagethrift.lab.guest.dirty_rate import dirty_rate, require_dirty_rate
from pagethrift.lab.guest.disk import (
    check_disk,
    local_drive,
    make_disk,
    stop_writer,
    written_bytes,
)
from pagethrift.lab.guest.equality import compare_ram
from pagethrift.lab.guest.image import guest_image
from pagethrift.lab.guest.machine import Machine, start_qemu
from pagethrift.lab.guest.monitor import Monitor
from pagethrift.lab.guest.nfs import nfs_drive, serve
from pagethrift.lab.guest.packages import qemu, with_nfs_driver
from pagethrift.lab.hosts.network import Host, TwoHosts, sweep_leftovers
from pagethrift.lab.hosts.processes import ProcessGroup
from pagethrift.lab.hosts.run_folder import run_folder
from pagethrift.lab.hosts.usage import Usage
from pagethrift.lab.journey import SLACK_S, START_S, Journey, migrate_command, relay_command, relay_socket
from pagethrift.lab.link.route import Route, link_record, open_route
from pagethrift.lab.scenario import ModeSpec, Scenario
from pagethrift.model.result import MigrationResult
from pagethrift.model.run_result import DiskCheck, RamEquality, RunResult
from pagethrift.units import format_bytes, format_seconds

BOOT_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Event:
    """An event to show while a run goes on."""

    stage: str
    detail: str = ""
    progress: Mapping[str, Any] | None = None
    """the migration's progress line, while it runs"""


Show = Callable[[Event], None]


def run(scenario: Scenario, mode: ModeSpec, repetition: int, check_ram: bool, show: Show) -> RunResult:
    """Run a scenario once in one mode and return the result; ends everything it started.

    Raises LabError or the migration's own error class; needs root for namespaces.
    """
    sweep_leftovers()
    with ExitStack() as stack:
        folder = stack.enter_context(run_folder())
        hosts = stack.enter_context(TwoHosts(link_bps=scenario.link.bandwidth_bps))
        group = stack.enter_context(ProcessGroup(folder))
        stage = _Stage(scenario, mode, folder, hosts, group, show)
        return stage.run(repetition, check_ram)


def boot(
    scenario: Scenario,
    host: Host,
    group: ProcessGroup,
    folder: Path,
    *,
    drive: str | None = None,
    incoming: bool = False,
) -> Machine:
    """Start the scenario's guest on a host, as the destination of a migration if ``incoming``."""
    binary = qemu(scenario.qemu)
    if drive is not None and scenario.guest.disk_on == "nfs":
        binary = with_nfs_driver(binary)
    image = guest_image("redis-server") if scenario.guest.activity == "redis" else guest_image()
    return start_qemu(
        group, name="destination" if incoming else "source", host=host, guest=scenario.guest,
        image=image, qemu=binary, accelerator=accelerator(binary), folder=folder,
        drive=drive, incoming=incoming, paused=incoming,
    )  # fmt: skip


def warm_up(scenario: Scenario, load: Clients, source: Machine, show: Show) -> int:
    """Fill the server, let the load run, and return the dirty rate in bytes per second.

    Raises LabError when the guest writes less than the scenario says.
    """
    show(Event("fill", f"{scenario.load.keys} keys"))
    load.wait_filled()
    show(Event("warm up", format_seconds(scenario.warm_up_s)))
    time.sleep(scenario.warm_up_s)
    load.require_running()
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
        disk = self._make_disk()
        source, destination = self._start_guests(disk)
        route = open_route(self._scenario.link, self._hosts, self._group, self._folder)
        load = Clients(self._scenario, self._folder, self._hosts, self._group)
        rate_bps = warm_up(self._scenario, load, source, self._show)
        disk_before_bytes = written_bytes(source)
        sent_before = self._hosts.bytes_sent()
        others = {"destination": [destination.process], "tunnel": route.tunnel, "delay": route.forwarder}
        usage = Usage(source.process, others)
        migration = self._migrate(source, destination, route, usage, paused=check_ram)
        load.begin_phase("during", migration.began_unix_s)
        load.begin_phase("after", migration.ended_unix_s)
        sent_bytes = self._hosts.bytes_sent() - sent_before
        disk_bytes = written_bytes(source) - disk_before_bytes
        ram = self._compare(source, destination) if check_ram else None
        time.sleep(self._scenario.after_s)
        client = load.finish()
        disk_check = self._check_disk(disk, source, destination, disk_bytes) if disk else None
        # The destination may stall just after it took over, so the time after the migration counts too.
        blackout_s = max(phase["blackout_s"] for phase in client["phases"][1:])
        migration = replace(
            migration, transferred_bytes=sent_bytes, blackout_s=None if check_ram else blackout_s
        )
        return RunResult(
            self._scenario.name, self._mode.name, repetition, migration, client,
            source.accelerator.value, client["failed"], ram, rate_bps,
            link_record(self._scenario.link, route), *usage.with_relay(migration), disk_check,
            self._scenario.digest,
        )  # fmt: skip

    def _start_guests(self, disk: Path | None) -> tuple[Machine, Machine]:
        self._show(Event("boot", f"QEMU {self._scenario.qemu}"))
        where = (self._group, self._folder)
        drive = self._drive(disk) if disk else None
        source = boot(self._scenario, self._hosts.a, *where, drive=drive)
        destination = boot(self._scenario, self._hosts.b, *where, drive=drive, incoming=True)
        source.wait_ready(BOOT_TIMEOUT_S)
        return source, destination

    def _make_disk(self) -> Path | None:
        size_bytes = self._scenario.guest.disk_bytes
        if not size_bytes:
            return None
        folder = self._folder / "disk"
        folder.mkdir()
        make_disk(path := folder / "disk.img", size_bytes)
        return path

    def _drive(self, disk: Path) -> str:
        if self._scenario.guest.disk_on == "directory":
            return local_drive(disk)
        self._show(Event("serve NFS"))
        serve(disk.parent, self._hosts, self._group, self._folder)
        return nfs_drive(disk)

    def _check_disk(
        self, disk: Path, source: Machine, destination: Machine, written_during_bytes: int
    ) -> DiskCheck:
        self._show(Event("check disk"))
        files_written = stop_writer(destination, self._hosts)
        for machine in (source, destination):
            self._group.stop(machine.process)
        return check_disk(disk, self._folder, files_written, written_during_bytes)

    def _migrate(
        self, source: Machine, destination: Machine, route: Route, usage: Usage, paused: bool
    ) -> MigrationResult:
        scenario, out = self._scenario, self._folder / "migration.json"
        certificates = None
        if self._mode.encrypted:
            host, plain = self._hosts.b.link_address, self._mode.plain
            client = encrypt(source if plain else None, destination, host, self._folder)
            certificates = None if plain else client
        command = migrate_command(scenario, self._mode, source, destination, route, out, certificates)
        if paused:
            command.append("--leave-paused")
        if self._mode.alone:
            self._start_relay(route)
        process = self._group.start(
            command, name="migrate", namespace=self._hosts.a.namespace, stdout=subprocess.PIPE
        )
        journey = Journey(
            process, scenario.link.changes, self._hosts.set_link_bps, usage, self._show_progress
        )
        journey.follow(START_S + scenario.force_after_s + SLACK_S)
        return MigrationResult.from_json(out.read_text())

    def _start_relay(self, route: Route) -> None:
        """Start a relay that nobody drives, between the source and the route."""
        command = relay_command(self._scenario, route, self._folder)
        relay = self._group.start(command, name="relay", namespace=self._hosts.a.namespace)
        deadline_s = time.monotonic() + START_S
        while not relay_socket(self._folder).exists():
            relay.require_running()
            if time.monotonic() > deadline_s:
                raise LabError(f"the relay does not listen after {START_S:g} s: {relay.last_words()}")
            time.sleep(0.02)

    def _show_progress(self, progress: Mapping[str, Any]) -> None:
        self._show(Event("migrate", self._mode.name, progress))

    def _compare(self, source: Machine, destination: Machine) -> RamEquality:
        self._show(Event("compare RAM"))
        with Monitor(source.observer_qmp_path) as a, Monitor(destination.observer_qmp_path) as b:
            equality = compare_ram(a, b, self._scenario.guest.memory_bytes)
            b.execute("cont")
        return equality
