"""A dirtying trace of a scenario's guest under its load: `pagethrift record` in the source host.

Just before, the guest sends its page classes: a copy of its /proc/kpageflags, in a temporary folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from pagethrift.errors import LabError
from pagethrift.lab.clients import Clients
from pagethrift.lab.guest.machine import CLASSES_PORT
from pagethrift.lab.hosts.lines import LineReader
from pagethrift.lab.hosts.namespaces import require_rights
from pagethrift.lab.hosts.network import GUEST_ADDRESS, TwoHosts, sweep_leftovers
from pagethrift.lab.hosts.processes import ProcessGroup
from pagethrift.lab.hosts.run_folder import run_folder
from pagethrift.lab.journey import SLACK_S
from pagethrift.lab.run import BOOT_TIMEOUT_S, Event, Show, boot, warm_up
from pagethrift.lab.scenario import Scenario
from pagethrift.units import format_bytes, format_seconds

PAGE_FLAGS_TIMEOUT_S = 10.0


def record(scenario: Scenario, out: Path, seconds: float, interval_s: float, show: Show) -> dict[str, Any]:
    """Boot the scenario's guest, load it, record ``seconds`` of it to ``out``; return record's summary.

    ``interval_s`` is the time between two readings of the dirty bitmap, 0 as fast as QEMU goes. The trace's
    workload note is the scenario's name, its description and the dirty rate measured before.
    Raises LabError; needs root for namespaces.
    """
    require_rights()
    scenario = replace(scenario, guest=replace(scenario.guest, tells_page_classes=True))
    sweep_leftovers()
    with ExitStack() as stack:
        folder = stack.enter_context(run_folder())
        hosts = stack.enter_context(TwoHosts())
        group = stack.enter_context(ProcessGroup(folder))
        show(Event("boot", f"QEMU {scenario.qemu}"))
        source = boot(scenario, hosts.a, group, folder)
        source.wait_ready(BOOT_TIMEOUT_S)
        load = Clients(scenario, folder, hosts, group)
        rate_bps = warm_up(scenario, load, source, show)
        note = f"{scenario.name}: {scenario.description}; {format_bytes(rate_bps)}/s dirtied before"
        page_flags = copy_page_flags(hosts, folder / "kpageflags")
        command = [
            sys.executable, "-m", "pagethrift", "record", "--json", "--qmp", str(source.qmp_path),
            "--out", str(out), "--seconds", f"{seconds:.9f}s", "--interval", f"{interval_s:.9f}s",
            "--workload", note,
            "--page-classes", str(page_flags),
        ]  # fmt: skip
        show(Event("record", format_seconds(seconds)))
        process = group.start(command, name="record", namespace=hosts.a.namespace, stdout=subprocess.PIPE)
        assert process.popen.stdout is not None
        lines = LineReader(process.popen.stdout)
        deadline_s = time.monotonic() + seconds + SLACK_S
        summary: dict[str, Any] = {}
        while not lines.ended:
            line = lines.next(deadline_s - time.monotonic())
            if line is not None:
                summary = json.loads(line)
            if summary.get("type") == "progress":
                show(Event("record", f"{summary['elapsed_s']:.0f} s, {summary['rows']} rows"))
            if time.monotonic() > deadline_s:
                raise LabError(f"the recording has not ended after {seconds + SLACK_S:.0f} s")
        if process.wait(30) != 0:
            raise LabError(f"the recording failed: {process.last_words().removeprefix('pagethrift: ')}")
        return summary | {"failed_requests": load.finish()["failed"], "dirty_rate_bytes_per_s": rate_bps}


def copy_page_flags(hosts: TwoHosts, into: Path) -> Path:
    """Write the guest's /proc/kpageflags, its page classes, to ``into`` and return the path.

    Raises LabError or LinkError when the guest does not send it.
    """
    try:
        with hosts.connect(GUEST_ADDRESS, CLASSES_PORT) as guest, into.open("wb") as file:
            guest.settimeout(PAGE_FLAGS_TIMEOUT_S)
            while piece := guest.recv(1 << 16):
                file.write(piece)
    except OSError as error:
        raise LabError(f"the guest's /proc/kpageflags cannot be copied: {error}") from error
    return into
