"""A dirtying trace of a scenario's guest under its load: `pagethrift record` in the source host."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pagethrift.errors import LabError
from pagethrift.lab.client import Clients
from pagethrift.lab.network import TwoHosts, sweep_leftovers
from pagethrift.lab.processes import ProcessGroup
from pagethrift.lab.run import BOOT_TIMEOUT_S, Event, Show, boot, warm_up
from pagethrift.lab.scenario import Scenario
from pagethrift.units import format_bytes, format_seconds


def record(scenario: Scenario, out: Path, seconds: float, interval_s: float, show: Show) -> dict[str, Any]:
    """Boot the scenario's guest, load it, record ``seconds`` of it to ``out``; return record's summary.

    ``interval_s`` lies between two looks at the dirty bitmap, 0 as fast as QEMU goes. The trace's workload
    note is the scenario's name, its description and the dirty rate measured before.
    Raises LabError; needs root for namespaces.
    """
    sweep_leftovers()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ptl-")))
        hosts = stack.enter_context(TwoHosts())
        group = stack.enter_context(ProcessGroup(folder))
        show(Event("boot", f"QEMU {scenario.qemu}"))
        source = boot(scenario, hosts.a, group, folder)
        source.wait_ready(BOOT_TIMEOUT_S)
        load = Clients(scenario, folder, hosts, group)
        rate_bps = warm_up(scenario, load, source, show)
        note = f"{scenario.name}: {scenario.description}; {format_bytes(rate_bps)}/s dirtied before"
        command = [
            sys.executable, "-m", "pagethrift", "record", "--json", "--qmp", str(source.qmp_path),
            "--out", str(out), "--seconds", f"{seconds}s", "--interval", f"{interval_s}s", "--workload", note,
        ]  # fmt: skip
        show(Event("record", format_seconds(seconds)))
        process = group.start(command, name="record", namespace=hosts.a.namespace, stdout=subprocess.PIPE)
        assert process.popen.stdout is not None
        summary: dict[str, Any] = {}
        for line in process.popen.stdout:
            summary = json.loads(line)
            if summary.get("type") == "progress":
                show(Event("record", f"{summary['elapsed_s']:.0f} s, {summary['rows']} rows"))
        if process.wait(30) != 0:
            raise LabError(f"the recording failed: {process.last_words().removeprefix('pagethrift: ')}")
        return summary | {"failed_requests": load.finish()["failed"], "dirty_rate_bytes_per_s": rate_bps}
